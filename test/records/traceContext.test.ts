import assert from 'node:assert/strict'
import test from 'node:test'
import {
  linksMax,
  mergeTraces,
  readTraceparent,
  traceHeaders,
  traceIdOf,
  tracesOf
} from '../../src/records/traceContext.ts'

const one = `00-${'1'.repeat(32)}-${'a'.repeat(16)}-01`
const two = `00-${'2'.repeat(32)}-${'b'.repeat(16)}-00`
const three = `00-${'3'.repeat(32)}-${'c'.repeat(16)}-01`

test('traceparent as W3C has it, and nothing else', () => {
  assert.equal(readTraceparent(one), one)
  assert.equal(readTraceparent(` ${one} `), one)
  // A later version may have more fields, and is gone on with as version 00.
  assert.equal(readTraceparent(`cc${one.slice(2)}-more`), one)
  for (const none of [
    undefined,
    '',
    'x',
    one.toUpperCase().replace('1', 'A'),
    `${one}-more`,
    `ff${one.slice(2)}`,
    one.replaceAll('1', '0'),
    one.replaceAll('a', '0'),
    one.slice(0, -1),
    `${one}\n${two}`
  ])
    assert.equal(readTraceparent(none), undefined, none)
  assert.equal(traceIdOf(one), '1'.repeat(32))
})

test('headers carry the newest trace and links to the others; what others wrote there is not trusted', () => {
  const traces = { newest: one, links: [two, three] }
  assert.deepEqual(tracesOf(traceHeaders(traces)), traces)
  assert.deepEqual(Object.keys(traceHeaders({ newest: one, links: [] })), ['traceparent'])
  const text = new TextEncoder()
  assert.equal(tracesOf({}), undefined)
  assert.equal(tracesOf({ traceparent: Uint8Array.of(0xff, 0xfe) }), undefined)
  assert.deepEqual(tracesOf({ traceparent: text.encode(one), 'mtmi.traces': text.encode(`junk,${two},`) }), {
    newest: one,
    links: [two]
  })
})

test('of several events the newest goes on and the others are linked, each once, up to a bound', () => {
  const of = (newest: string, ...links: string[]) => ({ newest, links })
  assert.equal(mergeTraces([]), undefined)
  assert.deepEqual(mergeTraces([of(one), of(two), of(one), of(three)]), of(three, one, two))
  assert.deepEqual(mergeTraces([of(one, two), of(one)]), of(one, two))
  const many = Array.from({ length: 40 }, (_, i) =>
    of(`00-${(i + 1).toString(16).padStart(32, '0')}-${'a'.repeat(16)}-01`)
  )
  const merged = mergeTraces(many)!
  assert.equal(merged.newest, many[39]!.newest)
  assert.equal(merged.links.length, linksMax)
  assert.equal(merged.links[0], many[38]!.newest)
})
