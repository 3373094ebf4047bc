import assert from 'node:assert/strict'
import test from 'node:test'
import { ESLint } from 'eslint'

test('a promise that is stored without a handler is refused by npm run check, and one that has one is not', async () => {
  const eslint = new ESLint()
  const code = `
    declare const work: () => Promise<number>
    declare function handledLater<T>(promise: Promise<T>): Promise<T>
    declare const found: Map<string, Promise<number>>
    export async function run(): Promise<void> {
      const refused = work()
      let assigned: Promise<number> | undefined
      assigned ??= work()
      const many: Promise<number>[] = []
      many.push(work())
      found.set('a', work())
      const raced = new Promise<never>((_, reject) => reject(new Error('late')))
      const listed = [work(), work()]
      const handled = handledLater(work())
      const caught = work().catch(() => 0)
      const never = new Promise<void>((resolve) => resolve())
      const awaited = await work()
      const known = found.get('a')
      await Promise.all([refused, assigned, ...many, raced, ...listed, handled, caught, never, known, awaited])
    }
  `
  const [result] = await eslint.lintText(code, { filePath: 'src/core/promises.ts' })
  const lines = result!.messages
    .filter(({ ruleId }) => ruleId === 'mtmi/stored-promises')
    .map(({ line }) => code.split('\n')[line - 1]!.trim())
  assert.deepEqual(lines, [
    'const refused = work()',
    'assigned ??= work()',
    'many.push(work())',
    "found.set('a', work())",
    "const raced = new Promise<never>((_, reject) => reject(new Error('late')))",
    'const listed = [work(), work()]'
  ])
})
