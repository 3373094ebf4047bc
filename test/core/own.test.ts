import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ESLint } from 'eslint'
import { own, setOwn } from '../../src/core/own.ts'

const inherited = ['constructor', 'toString', 'hasOwnProperty', 'valueOf', '__proto__']

test('what every object inherits is not found, and can be written and read back under any name', () => {
  for (const name of inherited) {
    const record: Record<string, number> = {}
    assert.equal(own(record, name), undefined, name)
    setOwn(record, name, 7)
    assert.equal(own(record, name), 7, name)
    assert.deepEqual(Object.keys(record), [name])
    assert.equal(Object.getPrototypeOf(record), Object.prototype)
    assert.equal(JSON.stringify(record), `{"${name}":7}`)
  }
})

test('the lint rule reports reads and writes by a string that is no literal, and nothing else', async () => {
  const eslint = new ESLint()
  const text = `export const f = (r: Record<string, number>, u: Record<'a' | 'b', number>, k: string, l: 'a' | 'b', n: number[], i: number) => {
  r[k] = 1
  const name = \`x\${k}\` as const
  return [r[k], r?.[name], r['a'], r.a, u[l], n[i]]
}
`
  // In the place of a file that the rule applies to: types come from the project.
  const [result] = await eslint.lintText(text, { filePath: 'src/core/rng.ts' })
  const reports = result!.messages
    .filter(({ ruleId }) => ruleId === 'mtmi/own-property')
    .map(({ line, messageId }) => [line, messageId])
  assert.deepEqual(reports, [
    [2, 'write'],
    [4, 'read'],
    [4, 'read']
  ])
})
