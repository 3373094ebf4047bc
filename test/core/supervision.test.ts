// Nothing runs in the background outside the one mechanism (src/core/backgroundTasks.ts): every thread, timer and
// loop until abort of the product is found in the syntax tree, and must be listed with what supervises it.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'node:test'
import ts from 'typescript'

const root = path.join(import.meta.dirname, '../..')

/** The file begins it by `tasks.keep`. */
const byTasks = 'tasks.keep'
/** Loops of a stage, begun by `runTogether` in its `run`, which `tasks.keep` runs. */
const byStage = 'runTogether'
/** It is awaited, and ends with its caller. */
const awaited = 'its caller'

const supervised: Readonly<Record<string, string>> = {
  'pipelines/allInOne.ts startModelThread()': byTasks,
  'pipelines/oneProcess.ts setInterval()': awaited, // the line that shows progress
  'pipelines/thread/client.ts startSourceWorker()': byTasks,
  'pipelines/thread/client.ts startModelThread()': byTasks,
  'pipelines/trainAndPublish.ts startModelThread()': byTasks,
  'src/core/backgroundTasks.ts loop': 'the mechanism',
  'src/core/outage.ts loop': awaited,
  'src/core/processLock.ts setInterval()': 'a lock that is not touched is taken over after its time',
  'src/core/sourceWorker.ts new Worker()': awaited,
  'src/index/embedded/searchThread.ts startSourceWorker()': byTasks,
  'src/index/embedded/searchWorker.ts setInterval()': 'the next search meets the same error and reports it',
  'src/ingest/load.ts loop': awaited,
  'src/log/kafka/kafkaLog.ts setInterval()': 'LogHealth has what fails',
  'src/publish/publishStage.ts loop': byStage,
  'src/publish/userReader.ts loop': awaited,
  'src/serve/encodeStage.ts loop': byStage,
  'src/train/trainStage.ts loop': byStage
}

const product = ['src', 'pipelines']
  .flatMap((folder) =>
    readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' }).map((file) => `${folder}/${file}`)
  )
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => file.endsWith('.ts') && !file.startsWith('src/lab/') && !file.startsWith('pipelines/cli/'))
  .sort()

test('every thread, timer and endless loop is supervised', () => {
  const found = product.flatMap((file) => backgroundWork(file, readFileSync(path.join(root, file), 'utf8')))
  const missing = [...new Set(found)].filter((work) => supervised[work] === undefined)
  assert.deepEqual(missing, [], 'start it with tasks.keep, tasks.every or runTogether, and list it here')
  const stale = Object.keys(supervised).filter((work) => !found.includes(work))
  assert.deepEqual(stale, [], 'these are gone')
})

test('loops that are listed under runTogether, and threads under tasks, are begun by it', () => {
  for (const [work, by] of Object.entries(supervised)) {
    const [file] = work.split(' ') as [string]
    const text = readFileSync(path.join(root, file), 'utf8')
    if (by === byTasks) assert.match(text, /tasks\.keep\(/, work)
    if (by === byStage) assert.match(text, /await runTogether\(/, work)
  }
})

test('the search finds what it should', () => {
  const code = `
    class Stage {
      async #run(signal) {
        const worker = new Worker('x')
        setInterval(tick, 1000)
        const running = handledLater(stage.run(signal))
        while (!signal.aborted) await step()
        while (true) { if (await step()) break }
        for (;;) { if (next() === undefined) break }
        while (count < 10) await step()
      }
    }`
  assert.deepEqual(backgroundWork('x.ts', code), [
    'x.ts new Worker()',
    'x.ts setInterval()',
    'x.ts run()',
    ...Array(2).fill('x.ts loop')
  ])
})

/** `<file> <kind>` of everything that lasts as long as the process. */
function backgroundWork(file: string, code: string): string[] {
  if (!/\bWorker\(|setInterval|start\w+\(|\.run\(|aborted|while \(true/.test(code)) return [] // parsing takes most of the time
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isNewExpression(node) && node.expression.getText() === 'Worker') found.push(`${file} new Worker()`)
    if (ts.isCallExpression(node)) {
      const name = node.expression.getText()
      // A stage that is begun and not awaited.
      if (name === 'handledLater' && /\.run\(/.test(node.getText())) found.push(`${file} run()`)
      if (['setInterval', 'startSourceWorker', 'startModelThread'].includes(name)) found.push(`${file} ${name}()`)
    }
    // The loops of the Kafka adapter run within `read`, which a stage awaits.
    if (lastsUntilAbort(node) && awaits(node) && !file.startsWith('src/log/kafka/')) found.push(`${file} loop`)
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(file, code, ts.ScriptTarget.Latest, true))
  return found
}

function lastsUntilAbort(node: ts.Node): boolean {
  return (ts.isWhileStatement(node) || ts.isDoStatement(node)) && /aborted|^true$/.test(node.expression.getText())
}

function awaits(node: ts.Node): boolean {
  return ts.isAwaitExpression(node) || ts.forEachChild(node, (child) => awaits(child) || undefined) === true
}
