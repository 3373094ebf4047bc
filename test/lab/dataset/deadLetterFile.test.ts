import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { DeadLetterFile } from '../../../src/lab/dataset/deadLetterFile.ts'

let folder = ''
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mtmi-letters-'))
})
after(() => rm(folder, { recursive: true }))

const letter = (line: number) => ({ file: 'a.txt', line, reason: 'expected more', raw: 'tab\tquote"\u2028end' })

test('letters are kept as they were, one JSON object a line; a new run replaces them', async () => {
  const directory = join(folder, 'deep', 'er')
  const letters = new DeadLetterFile(directory)
  letters.add(letter(1))
  await letters.flush()
  letters.add(letter(2))
  await letters.flush()
  await letters.flush()
  assert.equal(letters.count, 2)
  const read = async () =>
    (await readFile(letters.path, 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown)
  assert.deepEqual(await read(), [letter(1), letter(2)])

  const again = new DeadLetterFile(directory)
  again.add(letter(3))
  await again.flush()
  assert.deepEqual(await read(), [letter(3)])

  await new DeadLetterFile(directory).flush()
  assert.deepEqual(await readdir(directory), [])
})

test('without a letter there is no file and no folder', async () => {
  await new DeadLetterFile(join(folder, 'none')).flush()
  assert(!(await readdir(folder)).includes('none'))
})
