// What can be configured between event and model: which events count, how histories are kept, how the model learns from
// them, how it is judged.

import { z } from 'zod'
import { count, dayMs, durationMs, minuteMs, real, section } from './settingTypes.ts'

export const eventsSchema = section({
  types: z
    .record(z.string(), real(0, 1000))
    .default({
      click: 1,
      view: 1,
      rating: 1,
      like: 1,
      addtocart: 2,
      cart: 2,
      purchase: 3,
      transaction: 3,
      checkin: 1,
      review: 1
    })
    .describe(
      'Event types that count, with their weight in the loss; 0 keeps a type in histories without learning from it. Others are ignored and counted'
    ),
  catalogueOnly: z
    .boolean()
    .default(true)
    .describe(
      'Once there is a catalogue, items that it lacks are in no list, whoever clicks on them; they come in when the catalogue has them. Without a catalogue all items may be listed'
    ),
  nullTexts: z
    .array(z.string())
    .default(['NA', 'N/A', '#N/A', '<NA>', 'nan', 'NaT', 'NULL', '(null)', 'None', 'undefined', '-', '\\N'])
    .describe(
      'Texts that stand for no value in files and topics of others, in upper or lower case: they are never an id'
    ),
  futureMaxMs: durationMs(365 * dayMs)
    .default(10 * minuteMs)
    .describe(
      'An event time further ahead than this of when the log took it is refused: clocks err by minutes, not more'
    ),
  badShareMax: real(0, 1)
    .default(0.5)
    .describe(
      'Above this share of bad events in a window of 1,000 the stage stops: then it is our schema that is wrong'
    )
})

export const sequenceSchema = section({
  historyMax: count(1, 1000).default(50).describe('Steps kept per user'),
  historyAgeMaxMs: durationMs(3650 * dayMs)
    .default(365 * dayMs)
    .describe("Steps older than this against the user's newest are dropped"),
  graceMs: durationMs(30 * dayMs)
    .default(60 * minuteMs)
    .describe("How far behind the user's own newest event another may arrive and still be put in its place"),
  idleMaxMs: durationMs(3650 * dayMs)
    .default(730 * dayMs)
    .describe('A user this long without an event, by event time, is forgotten; at least historyAgeMaxMs'),
  emitEventsMax: count(1, 100_000)
    .default(4096)
    .describe(
      'Events taken together before their users are emitted, where so many wait: each time costs a write to the disk, on Kafka a transaction of some 20 ms'
    ),
  commitIntervalMs: durationMs(minuteMs)
    .default(1000)
    .describe('How often state and offsets are made durable: a crash repeats at most this much')
})

export const trainSchema = section({
  batchSize: count(1, 8192).default(256),
  batchWaitMaxMs: durationMs(minuteMs).default(1000).describe('A batch that is not full is learned after this'),
  negatives: count(0, 16384)
    .default(1024)
    .describe(
      'Sampled by popularity, shared by the batch. With 1,700 items 256 do as well; a larger catalogue needs more'
    ),
  denseLearningRate: real(0, 1)
    .default(0.005)
    .describe('Adam, for the towers. A stream is seen once: .002 learns as well but later, .01 is worse'),
  replayRatio: real(0, 8)
    .default(1)
    .describe(
      'Older examples learned beside each new one. On MovieLens 100k hit rate@20 is .299 with 1 and .292 without, at two thirds of the time'
    ),
  reservoirMax: count(0, 10_000_000).default(50_000).describe('Examples kept for replay'),
  admissionMin: count(1, 1000).default(1).describe('Interactions before an item gets a row of its own'),
  itemsMax: count(16, 100_000_000)
    .default(10_000_000)
    .describe('Rows of the item table; the least recently seen make room'),
  checkpointIntervalMs: durationMs(dayMs)
    .default(5000)
    .describe('What came since the last one is learned again after a crash. Most of them tell only what has changed'),
  checkpointKeep: count(1, 1000)
    .default(3)
    .describe('Whole ones kept, with those that tell of changes since the oldest of them'),
  versionIntervalMs: durationMs(365 * dayMs)
    .default(60 * minuteMs)
    .describe('A checkpoint this long after the last version is one: `mtmi rollback` can go back to it'),
  versionKeep: count(0, 1000).default(5).describe('Versions kept beside the newest checkpoints, each as large as one'),
  auditFile: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe('File that lists the source offsets of each batch’s examples, for audits; it only grows. Default: none'),
  userShareMax: real(0, 1)
    .default(0.05)
    .describe(
      'Of these, one user at most, or eight times the mean; more of his are ranked, not learned. 1 switches it off'
    ),
  itemShareMax: real(0, 1)
    .default(0.1)
    .describe(
      'Of these, one target item at most, or eight times the mean: a best-seller has some hundredths, a flood most. 1 switches it off'
    ),
  updateIntervalMs: durationMs(60 * minuteMs)
    .default(2000)
    .describe(
      'How often changed rows are sent to the publisher: an item that is new to the model is unknown to others for so long'
    ),
  weightsIntervalMs: durationMs(24 * 60 * minuteMs)
    .default(10_000)
    .describe('How often tower weights are')
})

export const progressiveSchema = section({
  share: z
    .union([z.literal('auto'), real(0, 1)], { error: 'expected auto, or a number from 0 to 1' })
    .default('auto')
    .describe(
      'Share of the examples that are ranked among all items before they are trained on: the hit rate of the report and of the metrics, and drift of the model. 0: none; 1: all; auto: as many as take about a tenth of the trainer’s time'
    )
})
