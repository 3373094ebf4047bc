import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { BadEventError } from '../../../src/core/errors.ts'
import { compileInteractionMapper } from '../../../src/ingest/mapping/mapInteraction.ts'
import { rules } from '../../records/value/rules.ts'
import { foreign, source } from './foreign.ts'

const simple = { user: 'u', item: 'i', type: '=click', time: 't' }
const mapper = (given: object = {}) => compileInteractionMapper(source({ ...simple, ...given }), rules)
const good = { u: 'ada', i: 'lamp', t: 1_700_000_000_000 }

function refused(given: object, value: unknown, expected: RegExp, extra: Parameters<typeof foreign>[1] = {}): void {
  assert.throws(
    () => mapper(given)(foreign(value, extra)),
    (error) => {
      assert(error instanceof BadEventError, String(error))
      assert.match(error.message, expected)
      return true
    }
  )
}

test('takes every field from where it is', () => {
  const map = mapper({
    user: 'payload.user.id',
    item: 'payload.items[-1].sku',
    type: { path: 'event', names: { seen: 'view' } },
    time: { path: 'payload.ts', unit: 's' },
    eventId: 'header:id',
    value: 'payload.items[-1].price',
    context: { device: 'payload.device', channel: '=web', session: 'key', none: 'payload.none' }
  })
  const value = {
    event: 'seen',
    payload: { user: { id: 7n }, items: [{ sku: 'A' }, { sku: 'B', price: '9.50' }], ts: 1700000000.25, device: true }
  }
  assert.deepEqual(map(foreign(value, { key: 's1', headers: { id: 'e1' } })), {
    eventId: 'clicks/e1',
    userId: '7',
    itemId: 'B',
    type: 'view',
    eventTimeMs: 1_700_000_000_250,
    value: 9.5,
    context: { device: 'true', channel: 'web', session: 's1' },
    source: { topic: 'clicks', partition: 3, offset: 2n ** 60n }
  })
})

test('without an event id of the producer the coordinates are it, with every digit', () => {
  const mapped = mapper()(foreign(good))
  assert(mapped !== 'filtered')
  assert.equal(mapped.eventId, 'clicks/3/1152921504606846976')
  assert.deepEqual(Object.keys(mapped).sort(), ['eventId', 'eventTimeMs', 'itemId', 'source', 'type', 'userId'])
})

test('the first alternative that is there counts; null and empty text are not there', () => {
  const map = mapper({ user: ['account', 'visitor', 'key'] })
  const user = (value: object) => {
    const mapped = map(foreign({ ...good, ...value }, { key: 'k' }))
    return mapped === 'filtered' ? mapped : mapped.userId
  }
  assert.equal(user({ account: 'a', visitor: 'v' }), 'a')
  assert.equal(user({ account: null, visitor: 'v' }), 'v')
  assert.equal(user({ account: '', visitor: 0 }), '0')
  assert.equal(user({}), 'k')
})

test('longs stay exact, and a number that has lost digits is refused', () => {
  const id = (u: unknown) => {
    const mapped = mapper()(foreign({ ...good, u }))
    return mapped === 'filtered' ? mapped : mapped.userId
  }
  assert.equal(id(9007199254740993n), '9007199254740993')
  assert.equal(id(-(2n ** 63n)), '-9223372036854775808')
  assert.equal(id('9007199254740993'), '9007199254740993')
  refused({}, { ...good, u: 2 ** 53 }, /user \(u\) is 9007199254740992, .*too large to be exact/)
})

test('times in every unit', () => {
  const time = (t: unknown, unit?: string) => {
    const mapped = mapper(unit === undefined ? {} : { time: { path: 't', unit } })(foreign({ ...good, t }))
    return mapped === 'filtered' ? mapped : mapped.eventTimeMs
  }
  assert.equal(time(1_700_000_000_123), 1_700_000_000_123)
  assert.equal(time(1_700_000_000_123n, 'ms'), 1_700_000_000_123)
  assert.equal(time('1700000000.5', 's'), 1_700_000_000_500)
  assert.equal(time(1_700_000_000_123_456n, 'us'), 1_700_000_000_123)
  assert.equal(time('2023-11-14T22:13:20.5+01:00', 'iso'), 1_699_996_400_500)
  const logged = mapper({ time: ['t', 'log:time'] })(foreign({ u: 'a', i: 'b' }))
  assert.equal(logged === 'filtered' ? logged : logged.eventTimeMs, 5000)
})

test('names of events: the table, those that are not in it, and none', () => {
  const type = (event: unknown, others?: string) => {
    const mapped = mapper({
      type: { path: 'e', names: { seen: 'view', constructor: 'click' }, ...(others === undefined ? {} : { others }) }
    })(foreign({ ...good, e: event }))
    return mapped === 'filtered' ? mapped : mapped.type
  }
  assert.equal(type('seen'), 'view')
  assert.equal(type('constructor'), 'click')
  assert.equal(type('toString'), 'filtered')
  assert.equal(type('opened'), 'filtered')
  assert.equal(type('opened', 'keep'), 'opened')
  refused({ type: 'e' }, good, /type is missing: nothing at e: the value is an object with u, i, t/)
})

test('filters compare as text, and all must hold', () => {
  const passes = (filter: unknown, value: object) => mapper({ filter })(foreign({ ...good, ...value })) !== 'filtered'
  assert(passes({ path: 'bot', equals: false }, { bot: false }))
  assert(passes({ path: 'bot', equals: false }, { bot: 'false' }))
  assert(!passes({ path: 'bot', equals: false }, {}))
  assert(passes({ path: 'n', in: [1, '2'] }, { n: 2n }))
  assert(!passes({ path: 'n', in: [1] }, { n: { toString: 1 } }))
  assert(passes({ path: 'a.b', exists: true }, { a: { b: 0 } }))
  assert(passes({ path: 'a.b', exists: false }, { a: { b: null } }))
  assert(
    !passes(
      [
        { path: 'u', equals: 'ada' },
        { path: 'bot', exists: true }
      ],
      {}
    )
  )
})

test('rows that were deleted, truncations and tombstones are no interactions, and nothing is wrong with them', () => {
  assert.equal(mapper()(foreign(undefined, { key: 'a' })), 'filtered')
  const row = { user: 'after.u', item: 'after.i', time: 'after.t', type: '=click' }
  const envelope = (op: string, after: object | null) => foreign({ before: null, after, op, ts_ms: 1 })
  assert.notEqual(mapper(row)(envelope('c', good)), 'filtered')
  for (const op of ['d', 't', 'm']) assert.equal(mapper(row)(envelope(op, null)), 'filtered')
  assert.equal(
    mapper(row)(foreign({ schema: {}, payload: { before: good, after: null, op: 'd', ts_ms: 1 } })),
    'filtered'
  )
  // A field that happens to be called op makes no envelope.
  assert.notEqual(mapper()(foreign({ ...good, op: 'd', source: 'web' })), 'filtered')
})

test('a record that is not for us is not judged further', () => {
  assert.equal(mapper({ filter: { path: 'kind', equals: 'click' } })(foreign({ kind: 'ping' })), 'filtered')
})

test('refusals say which path, and what was found there', () => {
  refused(
    { user: 'a.b.c' },
    { ...good, a: { b: {} } },
    /^user is missing: nothing at a\.b\.c: a\.b is an object with no fields$/
  )
  refused({ user: 'a.b' }, { ...good, a: { b: null } }, /nothing at a\.b: a is an object with b, and b is null/)
  refused(
    { user: ['x', 'header:y', 'key'] },
    good,
    /nothing at x: .*; there is no header:y, there are no headers; the record has no key/
  )
  refused({ item: 'i[0].sku' }, { ...good, i: [] }, /item is missing: nothing at i\[0\]\.sku: i is a list of 0/)
  refused({}, { ...good, u: '' }, /user is missing: u is ""/)
  refused({}, { ...good, u: { id: 1 } }, /user \(u\) is an object with id: expected text or a number/)
  refused({}, { ...good, u: new Uint8Array(16).fill(0xff) }, /user \(u\) is not UTF-8 text: 16 bytes/)
  refused({}, { ...good, u: Number.NaN }, /user \(u\) is NaN/)
  refused(
    {},
    { ...good, t: 'soon' },
    /time \(t\): expected a time in milliseconds since 1970 \(unit ms\), found "soon"/
  )
  refused({}, { ...good, t: 1e15 }, /time \(t\): .*between 1990-01-01 and 2100-01-01/)
  refused({}, { ...good, t: -1 }, /time \(t\): .*between 1990-01-01 and 2100-01-01/)
  refused({ value: 'v' }, { ...good, v: 'cheap' }, /value \(v\) is "cheap": expected a finite number/)
  refused({ value: 'v' }, { ...good, v: true }, /value \(v\) is "true"/)
  refused({ value: 'v' }, { ...good, v: '1e999' }, /expected a finite number/)
  refused({ context: { d: 'd' } }, { ...good, d: [1] }, /context\.d \(d\) is a list of 1/)
  refused({ eventId: 'header:id' }, good, /eventId is missing: there is no header:id/)
  refused({}, 'text', /user is missing: nothing at u: the value is "text"/)
})

test('texts that stand for no value are not there, and ids have no blanks around them', () => {
  for (const u of ['NULL', 'nan', ' ', '-']) refused({}, { ...good, u }, /user is missing/)
  const first = mapper({ user: ['u', 'v'], value: 'p', context: { country: 'c' } })(
    foreign({ ...good, u: 'None', v: ' ada\t', p: 'NaN', c: 'N/A' })
  )
  assert.deepEqual(first, {
    eventId: 'clicks/3/1152921504606846976',
    userId: 'ada',
    itemId: 'lamp',
    type: 'click',
    eventTimeMs: good.t,
    source: { topic: 'clicks', partition: 3, offset: 2n ** 60n }
  })
})

test('a time in the wrong unit is refused with what it looks like; patterns and zones are read', () => {
  refused(
    {},
    { ...good, t: 1_714_557_976 },
    /which would be 1970-01-20.*it looks like seconds \(2024-05-01T10:06:16Z\): unit s/
  )
  refused({ time: { path: 't', unit: 's' } }, { ...good, t: 20141118 }, /it looks like ISO 8601 \(2014-11-18\)/)
  const read = (time: object, t: unknown) => {
    const mapped = mapper({ time: { path: 't', ...time } })(foreign({ ...good, t }))
    return mapped === 'filtered' ? mapped : new Date(mapped.eventTimeMs).toISOString()
  }
  assert.equal(read({ unit: 'ns' }, 1_714_557_976_123_456_789n), '2024-05-01T10:06:16.123Z')
  assert.equal(read({ unit: 'iso' }, '2024-05-01 10:06:16+00'), '2024-05-01T10:06:16.000Z')
  assert.equal(
    read({ format: 'dd/MM/yyyy HH:mm', zone: 'Europe/Berlin' }, '20/05/2021 14:00'),
    '2021-05-20T12:00:00.000Z'
  )
})

test('a path never reaches what objects inherit', () => {
  for (const user of ['constructor', '__proto__', 'toString', 'u.length', 'constructor.name'])
    refused({ user }, good, /user is missing/)
  const own = mapper({ user: '__proto__' })(foreign(JSON.parse('{"__proto__": "p", "i": "i", "t": 1700000000000}')))
  assert.equal(own === 'filtered' ? own : own.userId, 'p')
  assert.throws(() => mapper({ context: JSON.parse('{"__proto__": "u"}') }), /__proto__/)
})

test('a CloudEvent is told by its headers', () => {
  const headers = {
    ce_id: '1',
    ce_source: '//shop',
    ce_type: 'shop.view',
    ce_time: '2023-11-14T22:13:20Z',
    ce_subject: 'ada'
  }
  const cloud = (given: object) =>
    compileInteractionMapper(source({ format: 'cloudevents', user: 'header:ce_subject', item: 'sku', ...given }), rules)
  assert.deepEqual(cloud({})(foreign({ sku: 'A' }, { headers })), {
    eventId: '//shop/1',
    userId: 'ada',
    itemId: 'A',
    type: 'shop.view',
    eventTimeMs: 1_700_000_000_000,
    source: { topic: 'clicks', partition: 3, offset: 2n ** 60n }
  })
  const { ce_time: _, ...untimed } = headers
  const late = cloud({ type: { path: 'header:ce_type', names: { 'shop.view': 'view' } } })(
    foreign({ sku: 'A' }, { headers: untimed })
  )
  assert(late !== 'filtered')
  assert.deepEqual([late.type, late.eventTimeMs], ['view', 5000])
  // All of it may be in the headers.
  const bare = cloud({ item: 'header:ce_item' })(foreign(undefined, { headers: { ...headers, ce_item: 'B' } }))
  assert.equal(bare === 'filtered' ? bare : bare.itemId, 'B')
  const { ce_id: __, ...anonymous } = headers
  assert.throws(
    () => cloud({})(foreign({ sku: 'A' }, { headers: anonymous })),
    /eventId is missing: there is no header:ce_id, there are ce_source/
  )
})

test('our own interactions get their source, unless they have one', () => {
  const map = compileInteractionMapper(source({ format: 'mtmi', filter: { path: 'type', equals: 'click' } }), rules)
  const interaction = { eventId: 'e', userId: 'u', itemId: 'i', type: 'click', eventTimeMs: 1 }
  assert.deepEqual(map(foreign(interaction)), {
    ...interaction,
    source: { topic: 'clicks', partition: 3, offset: 2n ** 60n }
  })
  const first = { topic: 'first', partition: 0, offset: 1n }
  assert.deepEqual(map(foreign({ ...interaction, source: first })), { ...interaction, source: first })
  assert.equal(map(foreign({ ...interaction, type: 'view' })), 'filtered')
})

test('whatever the value is, the outcome is an interaction, filtered, or a BadEventError', () => {
  const map = mapper({ user: ['a.b', 'u'], value: 'v', context: { c: 'c[0]' }, filter: { path: 'f', exists: false } })
  const anything = fc.oneof(
    fc.anything({ withBigInt: true, withTypedArray: true }),
    fc.record({ u: fc.anything(), i: fc.anything(), t: fc.anything(), v: fc.anything() })
  )
  fc.assert(
    fc.property(anything, (value) => {
      try {
        const mapped = map(foreign(value))
        assert(
          mapped === 'filtered' ||
            (typeof mapped.userId === 'string' && mapped.userId !== '' && Number.isSafeInteger(mapped.eventTimeMs))
        )
      } catch (error) {
        assert(error instanceof BadEventError, String(error))
      }
    })
  )
})
