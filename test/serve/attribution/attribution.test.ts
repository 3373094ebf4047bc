import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { ManualClock } from '../../../src/core/clock.ts'
import { createMetrics } from '../../../src/monitor/metricsRegistry.ts'
import { Attribution, noAttribution } from '../../../src/serve/attribution/attribution.ts'
import { attributionReport, ratioError } from '../../../src/serve/attribution/attributionReport.ts'
import { decodeListId, encodeListId, type ListContent, originsOf } from '../../../src/serve/attribution/listId.ts'
import { Variants } from '../../../src/serve/attribution/variants.ts'

const nowMs = Date.UTC(2026, 6, 1, 12, 30)
const hourMs = 3_600_000

const list: ListContent = {
  ...{ version: 'm1@7', variant: 'default', source: 'vectors', userId: 'u', first: 0 },
  items: [
    { itemId: 'a', interest: 2 },
    { itemId: 'b', interest: 0 },
    { itemId: 'c', interest: null },
    { itemId: 'd', interest: 2 }
  ]
}

function setUp() {
  const clock = new ManualClock(nowMs)
  const metrics = createMetrics({ clock, processMetrics: false })
  const parts = { clock, isCounted: (type: string) => type !== 'view', measure: metrics.apply }
  const open = (counter = 77, state = noAttribution(counter, nowMs)) => new Attribution({ ...parts, state })
  return { clock, metrics, open, attribution: open() }
}

const click = (listId: string, itemId = 'b', more = {}) => ({
  ...{ eventId: itemId, userId: 'u', itemId, type: 'click', eventTimeMs: nowMs + 1000, listId },
  ...more
})

test('a list id says what the list was, whatever the names, and a changed one says nothing', () => {
  const name = fc.string({ unit: 'grapheme', maxLength: 20 })
  const anyList: fc.Arbitrary<ListContent> = fc.record({
    ...{ version: name, variant: name, userId: fc.option(name, { nil: undefined }), first: fc.nat(999) },
    source: fc.constantFrom('vectors' as const, 'popular' as const, 'similar' as const),
    items: fc.array(fc.record({ itemId: name, interest: fc.option(fc.nat(15)) }), { maxLength: 80 })
  })
  fc.assert(
    fc.property(anyList, fc.nat(0xffffffff), fc.nat(2 ** 43), fc.nat(), (list, counter, atMs, at) => {
      const id = encodeListId(list, counter, atMs)
      assert.match(id, /^mtmi1\.[\w-]+$/)
      const read = decodeListId(id)!
      assert.deepEqual(
        [read.version, read.variant, read.source, read.first, read.counter],
        [list.version, list.variant, list.source, list.first, counter]
      )
      assert(read.atMs <= atMs && atMs - read.atMs < hourMs)
      for (const { itemId } of list.items) assert.notEqual(read.find(itemId), undefined)
      const i = 'mtmi1.'.length + (at % (id.length - 'mtmi1.'.length - 1)) // the last character has unused bits
      const other = id[i] === 'A' ? 'B' : 'A'
      assert.equal(decodeListId(id.slice(0, i) + other + id.slice(i + 1)), undefined)
    })
  )
  for (const text of ['', 'mtmi1.', 'mtmi1.AAAA', 'mtmi1.AAAAAAAA', '77', 'x'.repeat(1000)])
    assert.equal(decodeListId(text), undefined)
})

test('an item is found at its position on its page, with the rank of its interest in the list', () => {
  assert.deepEqual(originsOf(list), ['interest1', 'interest2', 'memory', 'interest1'])
  const read = decodeListId(encodeListId({ ...list, first: 10 }, 1, nowMs))!
  assert.deepEqual(read.find('c'), { position: 12, origin: 'memory' })
  assert.equal(read.find('z'), undefined)
  const long = { ...list, items: Array.from({ length: 60 }, (_, i) => ({ itemId: `i${i}`, interest: 0 })) }
  const id = encodeListId(long, 1, nowMs)
  assert.deepEqual(decodeListId(id)!.find('i49'), { position: 49, origin: 'interest1' })
  assert.deepEqual(decodeListId(id)!.find('i59'), { position: 50, origin: 'later' })
  // The figures of docs/decisions: a usual list, and the longest id.
  const usual = encodeListId({ ...list, version: 'mtmi-k4-d64@12345', items: long.items.slice(0, 10) }, 1, nowMs)
  assert(usual.length <= 110, `${usual.length}`)
  assert(id.length <= 300, `${id.length}`)
})

test('clicks are counted once, by what the list was', async () => {
  const { attribution, metrics } = setUp()
  const id = attribution.answered(list)
  const other = attribution.answered({ ...list, userId: 'v' })
  attribution.take(click(id, 'c'))
  attribution.take(click(id, 'c', { eventId: 'again' }))
  attribution.take(click(id, 'b'))
  attribution.take(click(id, 'd'))
  const [row] = attributionReport(attribution, new Variants([])).variants
  assert.deepEqual(
    [row!.variant, row!.share, row!.lists, row!.clickedLists, row!.clickThrough],
    ['default', 1, 2, 1, 0.5]
  )
  assert.deepEqual(
    row!.hits,
    [1, 5, 10, 20].map((k) => ({ k, rate: k === 1 ? 0 : 0.5 }))
  )
  attribution.take(click(other, 'a', { userId: 'v' }))
  const report = attributionReport(attribution, new Variants([]))
  assert.equal(report.variants[0]!.hits[0]!.rate, 0.5)
  assert.deepEqual(
    report.versions.map(({ version, lists }) => [version, lists]),
    [['m1', 2]]
  )
  const clicksOf = Object.fromEntries(report.origins.map(({ origin, items, clicks }) => [origin, [items, clicks]]))
  assert.deepEqual(
    [clicksOf.interest1, clicksOf.interest2, clicksOf.memory],
    [
      [4, 2],
      [2, 1],
      [2, 1]
    ]
  )
  assert.deepEqual(
    report.positions.slice(0, 4).map(({ clicks }) => clicks),
    [1, 1, 1, 1]
  )
  assert.deepEqual(
    [report.events.read, report.events.outcomes],
    [5, { ...attribution.account().outcomes, attributed: 4, repeated: 1 }]
  )
  attribution.report()
  const { body } = await metrics.expose()
  for (const line of [
    'mtmi_serve_lists_total{source="vectors",variant="default"} 2',
    'mtmi_serve_clicked_lists_total{source="vectors",variant="default",k="all"} 2',
    'mtmi_serve_clicked_lists_total{source="vectors",variant="default",k="1"} 1',
    'mtmi_serve_version_lists_total{version="m1",outcome="clicked"} 2',
    'mtmi_serve_position_items_total{position="3",outcome="clicked"} 1',
    'mtmi_serve_origin_items_total{origin="interest1",outcome="answered"} 4'
  ])
    assert(
      body.includes(line),
      `${line} in\n${body.match(/^mtmi_serve_(list|click|version|position|origin).*$/gm)?.join('\n')}`
    )
})

test('an event that is no click on a list of this process has its own outcome', () => {
  const { attribution, open } = setUp()
  const id = attribution.answered(list)
  const forced = attribution.answered(list, false)
  const elsewhere = open(78).answered(list)
  for (const [event, outcome] of [
    [click(id, 'b', { listId: undefined }), 'unlisted'],
    [click(id, 'b', { type: 'view' }), 'uncounted'],
    [click(`${id.slice(0, -2)}AA`), 'unreadable'],
    [click('of another system'), 'unreadable'],
    [click(elsewhere), 'elsewhere'],
    [click(forced), 'elsewhere'],
    [click(id, 'b', { userId: 'a friend who got the link' }), 'otherUser'],
    [click(id, 'z'), 'notListed'],
    [click(id, 'b', { eventTimeMs: nowMs + 26 * hourMs }), 'late'],
    [click(id), 'attributed']
  ] as const) {
    const before = attribution.account().outcomes[outcome]
    attribution.take(event as never)
    assert.equal(attribution.account().outcomes[outcome], before + 1, outcome)
  }
})

test('the counts survive a restart, and a list of before is not counted twice', () => {
  const { attribution, open } = setUp()
  const id = attribution.answered(list)
  attribution.take(click(id, 'b'))
  const next = open(0, JSON.parse(JSON.stringify(attribution.state())))
  next.take(click(id, 'b'))
  next.take(click(id, 'a'))
  const [row] = attributionReport(next, new Variants([])).variants
  assert.deepEqual([row!.lists, row!.clickedLists, row!.hits.map(({ rate }) => rate)], [1, 1, [1, 1, 1, 1]])
  assert.equal(next.account().outcomes.repeated, 1)
})

test('a later page is no list of its own', () => {
  const { attribution } = setUp()
  attribution.answered(list)
  const second = attribution.answered({ ...list, first: 10 })
  attribution.take(click(second, 'a'))
  const { variants, positions } = attributionReport(attribution, new Variants([]))
  assert.deepEqual([variants[0]!.lists, variants[0]!.clickedLists], [1, 0])
  assert.deepEqual([positions[10]!.position, positions[10]!.items, positions[10]!.clicks], ['11-20', 4, 1])
})

test('memory is bounded: versions, variants and clicked lists', () => {
  const { attribution, clock } = setUp()
  for (let i = 0; i < 12_000; i++) {
    clock.advance(10_000)
    const id = attribution.answered({ ...list, version: `m${i % 100}@${i}`, userId: `u${i}` })
    attribution.take(click(id, 'a', { userId: `u${i}`, eventTimeMs: clock.nowMs() }))
  }
  const state = attribution.state()
  assert.equal(attribution.account().outcomes.attributed, 12_000)
  assert.deepEqual([state.cells.length, state.clickedLists.length], [64, 10_000])
  assert(JSON.stringify(state).length < 400_000)
})

test('the standard error is that of simulated experiments whose users differ', () => {
  // 40 experiments of 320 users with 1 … 20 lists each; each user clicks with a rate of their own.
  let seed = 1
  const random = () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    return seed / 2 ** 32
  }
  const runs = Array.from({ length: 40 }, () => {
    const [lists, clicked] = [new Array<number>(32).fill(0), new Array<number>(32).fill(0)]
    for (let user = 0; user < 320; user++) {
      const rate = random() ** 2
      for (let n = 1 + Math.floor(20 * random()); n > 0; n--) {
        lists[user % 32]!++
        if (random() < rate) clicked[user % 32]!++
      }
    }
    const total = (of: number[]) => of.reduce((a, b) => a + b, 0)
    return { rate: total(clicked) / total(lists), error: ratioError(lists, clicked)!, lists: total(lists) }
  })
  const mean = runs.reduce((sum, { rate }) => sum + rate, 0) / runs.length
  const spread = Math.sqrt(runs.reduce((sum, { rate }) => sum + (rate - mean) ** 2, 0) / (runs.length - 1))
  const error = runs.reduce((sum, { error }) => sum + error, 0) / runs.length
  const independent = Math.sqrt((mean * (1 - mean)) / runs[0]!.lists)
  assert(Math.abs(error / spread - 1) < 0.3, `${error} for a spread of ${spread}`)
  assert(independent < 0.6 * spread, 'as if lists were independent it would be far too small')
  assert.equal(ratioError([5, 5, 5, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0]), null)
})

test('users are divided by share, stay where they are, and are divided anew by another experiment', () => {
  const arms = [
    { name: 'diverse', share: 0.2, diversity: 0.5 },
    { name: 'plain', share: 0.3, memory: false }
  ]
  const users = Array.from({ length: 20_000 }, (_, i) => `u${i}`)
  const variants = new Variants(arms)
  const of = (division: Variants) => users.map((userId) => division.of(userId).name)
  const names = of(variants)
  const share = (name: string) => names.filter((one) => one === name).length / users.length
  for (const [name, expected] of [
    ['diverse', 0.2],
    ['plain', 0.3],
    ['default', 0.5]
  ] as const)
    assert(Math.abs(share(name) - expected) < 0.012, `${name}: ${share(name)}`)
  assert.deepEqual(of(new Variants(structuredClone(arms))), names)
  const wider = of(new Variants([{ ...arms[0]!, share: 0.25 }, arms[1]!]))
  assert(
    names.every((name, i) => name !== 'diverse' || wider[i] === 'diverse'),
    'a larger share keeps its users'
  )
  const next = of(new Variants([{ name: 'other', share: 0.2 }]))
  const both = users.filter((_, i) => names[i] === 'diverse' && next[i] === 'other').length / users.length
  assert(Math.abs(both - 0.04) < 0.006, `${both}`)
  assert.deepEqual(
    variants.shares().map(({ name }) => name),
    ['default', 'diverse', 'plain']
  )
})
