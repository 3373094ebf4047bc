// What can be configured between event and model: which events count, how histories are kept, how the model learns from
// them, how it is judged.

import { z } from 'zod'
import { count, dayMs, durationMs, minuteMs, real, section } from './settingTypes.ts'

export const eventsSchema = section({
  types: z
    .record(
      z.string().refine((type) => !['dislike', 'hide', 'unhide'].includes(type), {
        error: 'dislike, hide and unhide have no weight: they say what a user does not want'
      }),
      real(0, 1000)
    )
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
      'Event types in use, with their weight in the loss. Weight 0: the type is part of histories, but not a training target. Events of other types are ignored and counted'
    ),
  catalogueOnly: z
    .boolean()
    .default(true)
    .describe(
      'Whether lists contain only items of the catalogue. An item is listed as soon as the catalogue has it. Without a catalogue all items are listed'
    ),
  nullTexts: z
    .array(z.string())
    .default(['NA', 'N/A', '#N/A', '<NA>', 'nan', 'NaT', 'NULL', '(null)', 'None', 'undefined', '-', '\\N'])
    .describe('Texts that mean a missing value in external files and topics, ignoring case. They are never an ID'),
  futureMaxMs: durationMs(365 * dayMs)
    .default(10 * minuteMs)
    .describe('Maximum time by which an event time may be ahead of the log’s append time. A later event is rejected'),
  badShareMax: real(0, 1)
    .default(0.5)
    .describe(
      'A stage stops if more than this share of the last 1,000 events is invalid: then the mapping or schema is probably wrong'
    )
})

export const sequenceSchema = section({
  historyMax: count(1, 1000).default(50).describe('Maximum number of steps in a user’s history'),
  historyAgeMaxMs: durationMs(3650 * dayMs)
    .default(365 * dayMs)
    .describe("Maximum age of a step, relative to the user's newest step"),
  graceMs: durationMs(30 * dayMs)
    .default(60 * minuteMs)
    .describe("How much older than the user's newest event a late event may be. It is then sorted in by event time"),
  idleMaxMs: durationMs(3650 * dayMs)
    .default(730 * dayMs)
    .describe('A user without an event for this time, by event time, is removed. At least historyAgeMaxMs')
})

export const trainSchema = section({
  batchSize: count(1, 8192).default(256),
  negatives: count(0, 16384)
    .default(1024)
    .describe(
      'Number of negatives per batch, sampled by popularity. 256 are as good with 1,700 items; a larger catalogue needs more'
    ),
  denseLearningRate: real(0, 1)
    .default(0.005)
    .describe('Learning rate of Adam for the towers. .002 reaches the same quality later; .01 is worse'),
  replayRatio: real(0, 8)
    .default(1)
    .describe(
      'Older examples that are trained again with each new one. On MovieLens 100k hit rate@20 is .299 with 1, and .292 with 0 in two thirds of the time'
    ),
  reservoirMax: count(0, 10_000_000).default(50_000).describe('Number of examples kept for replay'),
  admissionMin: count(1, 1000).default(1).describe('Number of interactions after which an item gets an embedding'),
  itemsMax: count(16, 100_000_000)
    .default(10_000_000)
    .describe('Maximum number of item embeddings. The least recently used one is replaced'),
  checkpointIntervalMs: durationMs(dayMs)
    .default(5000)
    .describe(
      'Interval of checkpoints. After a crash, training repeats from the last one. Most checkpoints are incremental'
    ),
  checkpointKeep: count(1, 1000)
    .default(3)
    .describe('Number of full checkpoints kept, with the incremental ones since the oldest of them'),
  versionIntervalMs: durationMs(365 * dayMs)
    .default(60 * minuteMs)
    .describe('Interval at which a checkpoint is kept as a version for `mtmi rollback`'),
  versionKeep: count(0, 1000)
    .default(5)
    .describe('Number of versions kept in addition to the newest checkpoints. Each is as large as a checkpoint'),
  auditFile: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe(
      'File to which the source offsets of each batch’s examples are appended, for audits. It is never truncated'
    ),
  userShareMax: real(0, 1)
    .default(0.05)
    .describe(
      'Maximum share of one user in the recent examples, and at least eight times the mean. Further examples of the user are not trained on. 1: no limit'
    ),
  itemShareMax: real(0, 1)
    .default(0.1)
    .describe(
      'Maximum share of one target item in the recent examples, and at least eight times the mean. Protects against floods of events. 1: no limit'
    ),
  updateIntervalMs: durationMs(60 * minuteMs)
    .default(2000)
    .describe(
      'Interval at which changed embeddings are sent to the publisher. A new item is published after at most this time'
    )
})

export const progressiveSchema = section({
  share: z
    .union([z.literal('auto'), real(0, 1)], { error: 'expected auto, or a number from 0 to 1' })
    .default('auto')
    .describe(
      'Share of examples that are ranked among all items before training on them, for the hit rate in reports and metrics and for model drift. auto: as many as take about a tenth of the trainer’s time. 0: none'
    )
})
