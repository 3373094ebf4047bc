import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { CorruptError, UnavailableError } from '../../src/core/errors.ts'
import { TrainedAudit } from '../../src/train/checkpoint/trainedAudit.ts'
import { readTrainedAudit } from './trainedAudit.ts'

const examples = (...names: [partition: number, offset: bigint][]) =>
  names.map(([partition, offset]) => ({ source: { partition, offset } }))

test('says which examples each batch held, and begins after a torn line', (t) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'mtmi-audit-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const file = path.join(directory, 'deep', 'trained.tsv')
  assert.deepEqual(readTrainedAudit(file), [])
  const audit = new TrainedAudit(file)
  audit.append(1, examples([0, 7n], [3, 9007199254740993n]))
  audit.append(2, examples())
  audit.close()
  appendFileSync(file, '3\t0:1') // killed here: 3\t0:17 was meant
  assert.deepEqual(
    readTrainedAudit(file).map(({ batch }) => batch),
    [1, 2]
  )

  const again = new TrainedAudit(file)
  again.append(3, examples([0, 17n]))
  again.close()
  assert.equal(readFileSync(file, 'utf8'), '1\t0:7,3:9007199254740993\n2\t\n3\t0:17\n')
  assert.deepEqual(readTrainedAudit(file), [
    { batch: 1, examples: ['0:7', '3:9007199254740993'] },
    { batch: 2, examples: [] },
    { batch: 3, examples: ['0:17'] }
  ])
})

test('refuses what is no audit, and a place where none can be', (t) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'mtmi-audit-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const file = path.join(directory, 'trained.tsv')
  writeFileSync(file, '1\t0:7,\n')
  assert.throws(() => readTrainedAudit(file), CorruptError)
  assert.throws(() => new TrainedAudit(directory), UnavailableError)
})
