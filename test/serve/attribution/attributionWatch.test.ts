import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { CorruptError, UnavailableError } from '../../../src/core/errors.ts'
import type { StateFile } from '../../../src/core/stateFile.ts'
import { createMetrics } from '../../../src/monitor/metricsRegistry.ts'
import { attributionReport } from '../../../src/serve/attribution/attributionReport.ts'
import { AttributionWatch, keptAttribution } from '../../../src/serve/attribution/attributionWatch.ts'
import type { ListContent } from '../../../src/serve/attribution/listId.ts'
import { Variants } from '../../../src/serve/attribution/variants.ts'
import { type TestStageIo, testStageIo } from '../../support/stageIo.ts'

const text = new TextEncoder()
const list = (userId: string): ListContent => ({
  ...{ version: 'm1@7', variant: 'default', source: 'vectors', userId, first: 0 },
  items: ['a', 'b', 'c'].map((itemId, interest) => ({ itemId, interest }))
})

async function setUp(t: TestContext) {
  const io = await testStageIo()
  t.after(() => io.dispose())
  const metrics = createMetrics({ clock: io.clock, processMetrics: false })
  let saved: string | undefined
  const file: StateFile<NonNullable<typeof keptAttribution.of>> = {
    load: () => (saved === undefined ? undefined : (keptAttribution.schema.parse(JSON.parse(saved)) as never)),
    save: (state) => {
      saved = JSON.stringify(state)
    }
  }
  return { io, metrics, open: () => new AttributionWatch(io, file, metrics.apply) }
}

async function click(io: TestStageIo, userId: string, itemId: string, listId?: string): Promise<void> {
  const event = {
    eventId: `${userId} ${itemId} ${listId}`,
    userId,
    itemId,
    type: 'click',
    eventTimeMs: io.clock.nowMs()
  }
  const value = io.codecs.interaction.encode({ ...event, ...(listId === undefined ? {} : { listId }) })
  await io.log.append('interactions', [{ key: text.encode(userId), value }])
}

const readAll = (watch: AttributionWatch) => watch.run(new AbortController().signal, undefined, true)
const ratesOf = ({ attribution }: AttributionWatch) => {
  const { lists, clickedLists } = attributionReport(attribution, new Variants([])).variants[0]!
  return { lists, clickedLists }
}

test('a process begins at the end of the log, and counts its clicks once over restarts', async (t) => {
  const { io, open } = await setUp(t)
  await click(io, 'u', 'a', 'mtmi1.of a process of before')
  const first = open()
  await readAll(first)
  assert.equal(first.attribution.account().read, 0)
  const [one, two] = ['u', 'v'].map((userId) => first.attribution.answered(list(userId)))
  await click(io, 'u', 'a', one)
  await click(io, 'u', 'z')
  await readAll(first)
  assert.deepEqual(ratesOf(first), { lists: 2, clickedLists: 1 })
  first.save()
  await click(io, 'v', 'b', two)
  const second = open()
  await readAll(second)
  await readAll(second)
  assert.deepEqual(ratesOf(second), { lists: 2, clickedLists: 2 })
  assert.deepEqual(second.attribution.account().read, 1)
})

test('two processes count each click once between them', async (t) => {
  const { io, open } = await setUp(t)
  const processes = [open(), open()]
  for (const each of processes) await readAll(each)
  const ids = processes.map(({ attribution }) => attribution.answered(list('u')))
  for (const id of ids) await click(io, 'u', 'a', id)
  for (const each of processes) await readAll(each)
  assert.deepEqual(processes.map(ratesOf), [
    { lists: 1, clickedLists: 1 },
    { lists: 1, clickedLists: 1 }
  ])
  assert.equal(processes[0]!.attribution.account().outcomes.elsewhere, 1)
})

test('a record that cannot be read is left to sequence, and one without an id is not decoded', async (t) => {
  const { io, open } = await setUp(t)
  const watch = open()
  await readAll(watch)
  const id = watch.attribution.answered(list('u'))
  const key = text.encode('u')
  await io.log.append('interactions', [
    { key, value: text.encode(`no Avro: ${id}`) },
    { key, value: text.encode('no Avro') },
    { key, value: null }
  ])
  await click(io, 'u', 'a', id)
  await readAll(watch)
  const { read, outcomes } = watch.attribution.account()
  assert.deepEqual([read, outcomes.unlisted, outcomes.attributed], [4, 3, 1])
})

test('in a topic that was created again, clicks are counted from its end on', async (t) => {
  const { io, open } = await setUp(t)
  const watch = open()
  await readAll(watch)
  for (let i = 0; i < 3; i++) await click(io, 'u', `i${i}`)
  await readAll(watch)
  watch.save()
  io.log.recreate('interactions')
  for (let i = 0; i < 5; i++) await click(io, 'u', `i${i}`)
  const next = open()
  await readAll(next)
  assert.equal(next.attribution.account().read, 0)
  const id = next.attribution.answered(list('u'))
  await click(io, 'u', 'a', id)
  await readAll(next)
  assert.deepEqual([next.attribution.account().read, ratesOf(next).clickedLists], [1, 1])
  // While it runs the log reports it as damage: serving must not end for that.
  const read = t.mock.method(io.log, 'read', () => {
    throw new CorruptError('the topic was created again')
  })
  await assert.rejects(
    readAll(next),
    (error) => error instanceof UnavailableError && /from the end/.test(error.message)
  )
  read.mock.restore()
  await readAll(next)
  assert.equal(next.attribution.account().read, 1)
})
