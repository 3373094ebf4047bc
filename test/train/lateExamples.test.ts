// Clicks that come late, or twice: what the model learns of them, from the event to the step.
import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { configSchema } from '../../src/core/config/config.ts'
import { loadBackend } from '../../src/model/backend.ts'
import { cutExamples } from '../../src/records/cutExamples.ts'
import type { Example } from '../../src/records/example.ts'
import type { Interaction } from '../../src/records/interaction.ts'
import { Sequencer } from '../../src/sequence/sequencer.ts'
import { IncrementalTrainer } from '../../src/train/incrementalTrainer.ts'
import { RepeatFilter } from '../../src/train/repeatFilter.ts'
import { MemorySequenceStore } from '../support/memorySequenceStore.ts'

before(() => loadBackend())

const hourMs = 3_600_000
const config = configSchema.parse({
  model: { dimensions: 8, interestCount: 2 },
  train: { negatives: 0 },
  sequence: { graceMs: hourMs }
})

function stream() {
  const sequencer = new Sequencer({
    store: new MemorySequenceStore(),
    partition: 0,
    options: config.sequence,
    eventTypes: config.events.types
  })
  const repeats = new RepeatFilter()
  let offset = 0n
  return {
    accept: (itemId: string, minute: number, eventId = `${itemId} ${minute}`) => {
      const click: Interaction = { eventId, userId: 'u', itemId, type: 'click', eventTimeMs: 1e12 + minute * 60_000 }
      return sequencer.accept(click, offset++, 1e12)
    },
    /** What is learned now of what was accepted. */
    examples: (): Example[] =>
      sequencer
        .take()
        .sequences.flatMap((sequence) => cutExamples(repeats.admit(sequence), (type) => config.events.types[type]))
  }
}

const said = (examples: readonly Example[]) =>
  examples.map(({ history, target }) => `${history.map(({ itemId }) => itemId).join('')}→${target.itemId}`)

test('a click that comes late counts where it belongs: after what came before it, not after what has been learned since', () => {
  const { accept, examples } = stream()
  for (const [i, item] of ['a', 'b', 'c', 'e', 'f'].entries()) accept(item, i < 3 ? i : i + 1)
  assert.deepEqual(said(examples()), ['a→b', 'ab→c', 'abc→e', 'abce→f'])
  assert.equal(accept('d', 3), 'placed')
  // Once, with the past it had; what came after it was learned without it and is not learned again.
  assert.deepEqual(said(examples()), ['abc→d'])
  accept('g', 9)
  assert.deepEqual(said(examples()), ['abcdef→g'])
})

test('later than the grace it is neither learned nor history; twice, it is learned once', () => {
  const { accept, examples } = stream()
  accept('a', 0)
  accept('b', 70)
  assert.deepEqual(said(examples()), ['a→b'])
  assert.notEqual(accept('late', 5), 'placed')
  assert.notEqual(accept('b', 70), 'placed')
  accept('c', 71)
  assert.deepEqual(said(examples()), ['ab→c'])
})

test('learned late, it is a step like any other: no age is negative, and its item is as recent as its time', () => {
  const { accept, examples } = stream()
  const trainer = new IncrementalTrainer({ model: config.model, train: config.train, historyMax: 8, seed: 1 })
  for (const [i, item] of ['a', 'b', 'c', 'e'].entries()) accept(item, 10 * i)
  trainer.step(examples(), new Map())
  trainer.step([], new Map())
  accept('d', 25)
  const [late] = examples()
  const batch = trainer.assembler.assemble([late!], new Map(), 'none')
  // Rows are of targets: b and c, at 10 and 20 minutes; counted back from the newest of them, not from now nor from the
  // target.
  assert.deepEqual([...batch.age], [600, 0])
  const report = trainer.learnExamples([late!], new Map())
  assert.equal(report.examples, 2, 'it, and one replayed beside it')
  assert.equal(trainer.items.lastSeenMs(trainer.items.rowOf('d')), 1e12 + 25 * 60_000)
})
