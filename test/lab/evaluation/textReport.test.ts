import assert from 'node:assert/strict'
import test from 'node:test'
import {
  Account,
  type AccountNumbers,
  type Outcome,
  type OutcomeKind,
  type Reader,
  readers
} from '../../../src/core/account.ts'
import { noTopCounts } from '../../../src/core/topCounts.ts'
import { noOtherLosses, otherLosses } from '../../../src/lab/evaluation/accountReport.ts'
import { type RunReport, textReport } from '../../../src/lab/evaluation/textReport.ts'
import type { ProgressiveReport } from '../../../src/train/progressive/progressive.ts'
import type { RankingMetrics } from '../../../src/train/progressive/rankingMetrics.ts'

const metrics = (hitRate: number, ndcg = hitRate / 2): RankingMetrics => ({
  targets: 1000,
  'hitRate@20': hitRate,
  'ndcg@20': ndcg,
  'hitRate@50': hitRate,
  'ndcg@50': ndcg
})

const methods = (model: number, other: number) => ({
  model: metrics(model),
  withoutMemory: metrics(model),
  popularity: metrics(0.1),
  cooccurrence: metrics(other)
})

const progressive: ProgressiveReport = {
  ...metrics(0.4, 0.2),
  targets: 8000,
  examples: 9000,
  evaluatedShare: 1,
  standardError: 0,
  repeats: 1000,
  withoutMemory: metrics(0.38),
  popularity: metrics(0.1),
  cooccurrence: metrics(0.25),
  window: methods(0.4, 0.25),
  curve: [0.1, 0.4, 0.4, 0.4, 0.2, 0.3, 0.39, 0.4].map((model, i) => ({
    examples: (i + 1) * 1000,
    timeMs: (i + 1) * 10,
    metrics: methods(model, 0.25)
  }))
}

function account<R extends Reader>(reader: R, outcomes: Partial<Record<Outcome<R>, number>>): AccountNumbers<R> {
  const made = new Account(reader)
  for (const [outcome, count] of Object.entries<number>(outcomes as Record<string, number>)) {
    made.read(count)
    made.add(outcome as Outcome<R>, count)
  }
  return made.numbers()
}

const empty: RunReport = {
  ...{ source: 'ml-100k', run: 'ml-100k', interactions: 0, interactionsThisTime: 0, users: 0, items: 0, seconds: 0 },
  ...{ accounts: [], ignoredTypes: noTopCounts, otherLosses: noOtherLosses, typeWeights: { click: 1 } },
  ...{ examplesTrained: 0, untrainedTargets: 0, batchSize: 256 }
}

const full: RunReport = {
  ...empty,
  source: 'a simulated clickstream',
  interactions: 9116,
  interactionsThisTime: 9116,
  accounts: [
    account('source', { loaded: 9116 }),
    account('sequence', { placed: 9100, duplicate: 12, late: 3, rejected: 1 }),
    account('train', { trained: 9000, first: 100 })
  ],
  users: 1,
  items: 3000,
  seconds: 6.5,
  examplesTrained: 9000,
  examplesPerSecond: 2100,
  backend: 'tfjs-node 4.22.0',
  version: '0.1.0',
  progressive,
  driftMs: 45,
  interestCount: 4,
  intraUserCosine: 0.5,
  interestsFound: {
    users: 200,
    meanShareFound: 0.9,
    usersWithAllFound: 150,
    usersWithMostFound: 190,
    interestsFoundForMost: 23,
    interests: 24
  },
  freshnessMs: { p50: 340, p99: 1900 },
  sample: {
    userId: 'u17',
    recent: ['Jazz #3', 'Coffee #9'],
    recommendations: [
      { title: 'Jazz #4', score: 0.912, interest: 1, about: 'Music' },
      { title: 'Coffee #1', score: 0.9, interest: 0, about: 'Food' },
      { title: 'Jazz #5', score: 0.85, interest: 1, about: 'Music' }
    ]
  }
}

test('a full report', () => {
  // Before the drift at 45 (500 events into the fifth period, at 4,500): (.1 + .4 + .4 + .4) / 4 = .325; 95% are .309.
  // The fifth period ends at .2; .39 and the next reach it, at 7,000: 2,500 events later.
  assert.equal(
    textReport(full),
    `MTMI Stream: a simulated clickstream
  9,116 events in 6.5 s, 1,402 events/s
  1 user with a history, 3,000 items in the index
  9,000 examples trained on, 2,100 a second while training
  tfjs-node 4.22.0, version 0.1.0

Does it learn?
  8,000 targets, each ranked among all items before it was learned, history left out.
  1,000 repeated clicks cannot be ranked so, and are left out.

                           hit rate@20  NDCG@20     the model is
  this model                      .400     .200
    without the memory            .380     .190   1.05 × as good
  popular lately                  .100     .050   4.00 × as good
  item co-occurrence              .250     .125   1.60 × as good

  hit rate@20 over the stream, bars from 0 to .400, │ marks the drift
  this model          ▃███│▅▆██ .400
  popular lately      ▃▃▃▃│▃▃▃▃ .100
  item co-occurrence  ▅▅▅▅│▅▅▅▅ .250
  It fell from .33 to .20 at the drift, and was back at .39 after 2,500 events.

Are the interests different?
  Two of a user's 4 interests have a cosine of .50 on average (1: the same): they differ.
  Planted interests found: 90%. All of them for 75% of 200 users, most for 95%.
  Of the 24 interests that ten users or more have, 23 are found for most of them.

Is it fresh?
  From click to searchable: half within 340 ms, 99% within 1.9 s.

What became of every record?
  source    9,116 rows read: 9,116 appended to the log
  sequence  9,116 events read: 9,100 placed in a history, 12 repeated, 3 too late
      (sequence.graceMs), 1 invalid (in the dead-letter topic)
  train     9,100 examples read: 9,000 trained on, 100 without a step before it

What went wrong?
  sequence: 3 too late (sequence.graceMs).
  sequence: 1 invalid (in the dead-letter topic).

What would user u17 get?
  lately  Jazz #3, Coffee #9
  interest 2   1. .91  Jazz #4                                   Music
               3. .85  Jazz #5                                   Music
  interest 1   2. .90  Coffee #1                                 Food
`
  )
})

test('what a run does not have is not told', () => {
  assert.equal(
    textReport(empty),
    'MTMI Stream: ml-100k\n  0 events\n  0 users with a history, 0 items in the index\n  0 examples trained on\n\nWhat went wrong?\n  Nothing.\n'
  )
})

test('a rate is of what the process that reports it read: none where it read nothing', () => {
  assert.match(textReport({ ...full, interactionsThisTime: 0 }), /^ {2}9,116 events, all read by earlier runs$/m)
  assert.match(
    textReport({ ...full, interactionsThisTime: 650 }),
    /^ {2}9,116 events, 650 of them new, read in 6\.5 s, 100 events\/s$/m
  )
})

test('targets that were ranked before the first step are not shown as a quality', () => {
  const untrained = textReport({ ...full, untrainedTargets: progressive.targets })
  assert.match(untrained, /Too few events to tell: all 8,000 targets were ranked before the first training step/)
  assert.doesNotMatch(untrained, /hit rate@20/)
  assert.match(textReport({ ...full, untrainedTargets: 250 }), /250 of them were ranked before the first training step/)
})

test('"Nothing." stands under "What went wrong?" exactly if no outcome, and nothing else, is a loss', () => {
  const saysNothing = (change: Partial<RunReport>) =>
    /What went wrong\?\n {2}Nothing\.\n/.test(textReport({ ...empty, ...change }))
  assert(saysNothing({}))
  for (const [reader, { outcomes }] of Object.entries(readers)) {
    for (const [outcome, { kind }] of Object.entries<{ kind: OutcomeKind }>(outcomes)) {
      const one = account(reader as Reader, { [outcome]: 1 })
      const ignoredTypes = { named: [['hover', 1]] as const, other: 0 }
      assert.equal(saysNothing({ accounts: [one], ignoredTypes }), kind !== 'lost', `${reader}: ${outcome}`)
    }
    const lost = new Account(reader as Reader)
    lost.read()
    assert(!saysNothing({ accounts: [lost.numbers()] }), `${reader}: a record of which nothing is known`)
    assert(!saysNothing({ accounts: [lost.numbers(1)] }), `${reader}: a record that waits`)
  }
  for (const loss of Object.keys(otherLosses))
    assert(!saysNothing({ otherLosses: { ...noOtherLosses, [loss]: 1 } }), loss)
})

test('ignored events are told by type, with the setting that gives each a weight beside those there are', () => {
  const text = textReport({
    ...empty,
    accounts: [account('sequence', { ignored: 1246, placed: 3 })],
    ignoredTypes: {
      named: [
        ["shop's view", 1203],
        ['cart', 40]
      ],
      other: 3
    },
    run: 'shop.csv'
  })
  assert.match(text, /sequence: 1,246 of types without a weight: shop's view 1,203, cart 40, other types 3\./)
  assert.match(text, /mtmi reset --run shop\.csv/)
  assert(text.includes(`--set 'events.types={"click":1,"shop'\\''s view":1,"cart":1}'`), text)
})

test('nothing ranked, a drift it stands, a drift it does not recover from, collapsed interests', () => {
  const told = (change: Partial<ProgressiveReport>) =>
    textReport({ ...full, progressive: { ...progressive, ...change } })
  assert.match(told({ targets: 0 }), /No target was ranked: every one of them was in its own history/)
  assert.match(told({ targets: 0, repeats: 0 }), /No target was ranked: no user had a second step/)
  const curveOf = (values: number[]) =>
    values.map((value, i) => ({ ...progressive.curve[i]!, metrics: methods(value, 0.25) }))
  assert.match(
    told({ curve: curveOf([0.4, 0.4, 0.4, 0.4, 0.4, 0.39, 0.4]) }),
    /At the drift it held its level: \.40 before, no less than \.39 after\./
  )
  assert.match(
    told({
      curve: curveOf([0.4, 0.4, 0.4, 0.4, 0.4, 0.39, 0.4, 0.4, 0.4]),
      evaluatedShare: 0.25,
      standardError: 0.01
    }),
    /At the drift no bar falls beyond the sample's error \(± \.03 a bar\): \.40 before, no less than \.39 after\./
  )
  assert.match(
    told({ curve: curveOf([0.4, 0.4, 0.4, 0.4, 0.2, 0.3]) }),
    /It fell from \.40 to \.20 at the drift and has not come back to \.38 yet; it ends at \.30\./
  )
  assert.match(textReport({ ...full, intraUserCosine: 0.97 }), /collapsed into one/)
  assert.doesNotMatch(textReport({ ...full, interestCount: 1, intraUserCosine: Number.NaN }), /cosine/)
  assert.match(
    told({ evaluatedShare: 0.25, standardError: 0.0081 }),
    /They are a sample, 25% of all \(progressive\.share\): hit rate@20 ± 0\.008,/
  )
})

test('no line is longer than 100 columns, however long the titles, and no character is torn', () => {
  const title = '🎷'.repeat(120)
  const text = textReport({
    ...full,
    progressive: {
      ...progressive,
      curve: Array.from({ length: 64 }, (_, i) => ({ ...progressive.curve[0]!, timeMs: i }))
    },
    sample: {
      userId: 'u1',
      recent: Array.from({ length: 40 }, () => title),
      recommendations: [
        { title, score: 1, interest: 0, about: title },
        { title, score: -0.25, interest: 0 }
      ]
    }
  })
  for (const line of text.split('\n')) assert([...line].length <= 100, `${[...line].length}: ${line}`)
  assert.doesNotMatch(text, /[\uD800-\uDBFF](?![\uDC00-\uDFFF])/)
  assert.match(text, /1\.00/)
  assert.match(text, /-\.25/)
})

test('the drift was noticed: when, by what, and what was a false alarm', () => {
  const detections = [
    { signal: 'hit_rate', detector: 'adwin', value: 0.2, eventTimeMs: 60 },
    { signal: 'item_popularity', detector: 'psi', value: 0.3, eventTimeMs: 52 },
    { signal: 'item_popularity', detector: 'psi', value: 0.3, eventTimeMs: 70 },
    { signal: 'category', detector: 'psi', value: 0.2, eventTimeMs: 20 }
  ] as const
  // A hundred clicks each millisecond: planted at 4,500; 52 is 700 later, 60 is 1,500 later; 20 was before.
  assert.match(
    textReport({ ...full, detections }),
    /Drift: noticed by item popularity 700 clicks, hit rate 1,500 clicks after it; 1 alarm before it\./
  )
  assert.match(textReport({ ...full, detections: [] }), /Drift: not noticed by the detectors; no alarm before it\./)
  assert.doesNotMatch(textReport(full), /Drift:/)
  const { driftMs: _, ...unplanted } = full
  assert.doesNotMatch(textReport({ ...unplanted, detections }), /Drift:/)
})
