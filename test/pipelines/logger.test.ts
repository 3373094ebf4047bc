import assert from 'node:assert/strict'
import test from 'node:test'
import { logStyle, openStageLogger } from '../../pipelines/logger.ts'
import { resolveConfig } from '../../src/core/config/config.ts'

function lines(config: object, style: 'json' | 'text') {
  const written: string[] = []
  const logger = openStageLogger(resolveConfig(config, {}), 'sequence', style, (line) => written.push(line))
  return { logger, written, parsed: () => written.map((line) => JSON.parse(line) as Record<string, unknown>) }
}

test('a line of JSON says which stage of which version, and offsets with every digit', () => {
  const { logger, parsed, written } = lines({}, 'json')
  logger.info({ topic: 't', partition: 3, from: 2n ** 60n, to: 2n ** 60n + 1n, traceId: 'abc' }, 'placed')
  logger.error({ err: new Error('no room') }, 'failed')
  logger.debug({}, 'below the level')
  assert.equal(written.length, 2)
  const [placed, failed] = parsed()
  const { time, version, ...rest } = placed!
  assert.match(String(time), /^\d{4}-\d\d-\d\dT.*Z$/)
  assert.match(String(version), /^\d+\.\d+\.\d+/)
  assert.deepEqual(rest, {
    ...{ level: 'info', stage: 'sequence', topic: 't', partition: 3, traceId: 'abc', msg: 'placed' },
    ...{ from: '1152921504606846976', to: '1152921504606846977' }
  })
  const { message, stack } = failed!.err as { message: string; stack: string }
  assert.equal(message, 'no room')
  assert.match(stack, /logger\.test/)
})

test('secrets are never written: not as a field, not inside a message, not in JSON’s own spelling', () => {
  const config = {
    kafka: { sasl: { mechanism: 'plain', username: 'ann', password: 'pass"word\\1' } },
    registry: { token: 'tok-en-42' }
  }
  for (const style of ['json', 'text'] as const) {
    const { logger, written } = lines(config, style)
    logger.info(
      { password: 'hunter2', nested: { apiKey: 'hunter3' } },
      'with Bearer tok-en-42 and pass"word\\1 it went on'
    )
    logger.error({ err: new Error('refused tok-en-42') }, 'so it is')
    const all = written.join('')
    for (const secret of ['hunter2', 'hunter3', 'tok-en-42', 'word\\1', 'word\\\\1'])
      assert(!all.includes(secret), `${secret} in ${all}`)
    assert.match(all, /with Bearer \*\*\* and \*\*\* it went on/)
  }
})

test('for people only the words, with what is wrong marked', () => {
  const { logger, written } = lines({ logLevel: 'warn' }, 'text')
  logger.info({ partition: 1 }, 'not shown')
  logger.warn({ partition: 1 }, 'look here')
  logger.error({}, 'and here')
  assert.deepEqual(written, ['warning: look here\n', 'error: and here\n'])
  const style = (logFormat: string, longRunning: boolean) => logStyle(resolveConfig({ logFormat }, {}), longRunning)
  assert.deepEqual(
    [style('auto', true), style('auto', false), style('text', true), style('json', false)],
    ['json', 'text', 'text', 'json']
  )
})
