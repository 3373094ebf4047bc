import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import test from 'node:test'
import { hangMs, makeTopic, openLog, removeTopics, skip } from './kafka.ts'

test('an owner that is stopped in the middle of its work, and goes on after another has claimed, adds nothing more', {
  skip,
  timeout: hangMs
}, async () => {
  const topic = await makeTopic(1)
  const log = await openLog()
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', path.join(import.meta.dirname, 'fencedChild.ts'), topic, 'owner'],
    {
      stdio: ['ignore', 'pipe', 'inherit']
    }
  )
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const ended = once(child, 'close')
  try {
    while (!/^20$/m.test(said))
      await Promise.race([once(child.stdout, 'data'), ended.then(() => assert.fail(`the child ended: ${said}`))])
    child.kill('SIGSTOP')
    await log.append(topic, [], 'owner')
    await log.append(topic, [{ key: Buffer.from('us'), value: Buffer.from('mine') }], 'owner')
    child.kill('SIGCONT')
    await ended
    assert.match(said, /^refused: .*newer owner/m)
    await log.append(topic, [{ key: Buffer.from('us'), value: Buffer.from('still mine') }], 'owner')
    const values: string[] = []
    for await (const event of log.read(topic, {
      resume: async () => 0n,
      signal: new AbortController().signal,
      untilEnd: true
    })) {
      if (event.kind === 'records') for (const { value } of event.records) values.push(Buffer.from(value!).toString())
    }
    // All that were acknowledged, perhaps one whose acknowledgement never came, and nothing of the child's after ours.
    const acknowledged = said.split('\n').filter((line) => /^\d+$/.test(line))
    const before = values.slice(0, values.indexOf('mine'))
    assert.deepEqual(before.slice(0, acknowledged.length), acknowledged)
    assert(before.length <= acknowledged.length + 1)
    assert.deepEqual(values.slice(values.indexOf('mine')), ['mine', 'still mine'])
  } finally {
    child.kill('SIGKILL')
    await ended
    await log.close()
    await removeTopics(topic)
  }
})
