// The answers of the service: shapes and descriptions in one place. TypeScript checks handlers against them, and the
// description of the service (`/openapi.json`) is made from them.
//
// Times are milliseconds since the Unix epoch unless they say otherwise. D dimensions, K interests.

import { z } from 'zod'
import { readers } from '../core/account.ts'

/** What a schema describes, as a value that is only read. */
export type Shape<S extends z.ZodType> = ReadonlyDeep<z.infer<S>>
type ReadonlyDeep<T> = T extends readonly unknown[] | object ? { readonly [K in keyof T]: ReadonlyDeep<T[K]> } : T

/** A component of the description, by its name. */
export const named = <T extends z.ZodRawShape>(id: string, shape: T) => z.strictObject(shape).meta({ id })

const text = (description: string) => z.string().describe(description)
const count = (description: string) => z.int().min(0).describe(description)
const number = (description: string) => z.number().describe(description)
const amount = (description: string) => z.number().min(0).describe(description)
const ratio = (description: string) => z.number().min(0).max(1).describe(description)
const time = (description: string) => amount(`${description}, milliseconds since 1970`)
/** Rounding takes a cosine a little beyond 1. */
const cosine = () => z.number().min(-1.001).max(1.001)
const place = () => z.tuple([z.number(), z.number()]).describe('Place on the map').exactOptional()
const strength = () => ratio('Share of the history that the interest explains; they sum to 1')
const vector = () => z.array(z.number()).describe('Of length 1').exactOptional()
const version = text('`indexVersion@step` of the vectors that answered')

/** Of every list that can be paged and filtered. */
const pageWords = {
  next: text(
    '`cursor` of the request for the next page, which may be empty; absent: this is the last one. Pages never repeat an item'
  ).exactOptional(),
  warnings: z
    .array(z.string())
    .describe('Conditions of the filter that no item meets, and why the list is empty')
    .exactOptional()
}

/** Of lists whose clicks are attributed. */
const listWords = {
  ...pageWords,
  listId: text('Names this list: send it as `listId` of the events on its items').exactOptional()
}

const itemWords = {
  itemId: z.string(),
  title: z.string().exactOptional(),
  about: text('Some of its features, `Comedy, Drama`').exactOptional()
}

const recommendedItemSchema = named('RecommendedItem', {
  ...itemWords,
  score: number(
    'The list is sorted by it, pinned items apart. Of the cosines to the interests of the user: the soft maximum τ ln mean e^(cosine/τ), or the maximum (model.score); and what the memory adds: how often others took it after the newest items of the history. Of a popular item: its decayed interactions as a share of those of the most popular one'
  ),
  interest: z
    .int()
    .min(0)
    .nullable()
    .describe(
      '0-based tower that it is nearest to; null: popular, found by the memory alone, or nearest to an item of a basket'
    ),
  because: z.array(z.string()).describe('Items of the history that are nearest to it, nearest first').exactOptional(),
  takenAfter: z
    .array(z.string())
    .describe('Items of the history after which others often took it, those that add most to its score first')
    .exactOptional(),
  userId: text('Of a list for several: the user whose interest it is nearest to').exactOptional(),
  rule: text('With `explain`: the rule that boosted or pinned it, such as `recommend.rules[0]`').exactOptional(),
  boost: number('What the rule added to the score').exactOptional(),
  pin: z.int().min(1).describe('The place, 1-based, that the rule gave it').exactOptional()
})

/** A list for a history that is not stored. */
export const sessionRecommendationsSchema = named('SessionRecommendations', {
  version,
  items: z
    .array(recommendedItemSchema)
    .describe('By score, best first, equal ones by id; popular in the context before popular with everyone'),
  coldStart: z
    .literal('popular')
    .describe('The list is not personal: it holds what is popular now, older interactions decayed')
    .exactOptional(),
  why: text('Why it is not personal').exactOptional(),
  popularIn: text('`country=de`: the first items are popular within this context of the request').exactOptional(),
  updatedAtMs: time("When the user's vectors were made").exactOptional(),
  strengths: z
    .array(strength())
    .describe('With `explain`: of each interest, the share of the history that it explains')
    .exactOptional(),
  variant: text('Arm of the experiment that the user is in (`recommend.variants`)').exactOptional(),
  ...listWords
})

export const recommendationsSchema = named('Recommendations', {
  userId: z.string(),
  ...sessionRecommendationsSchema.shape
})

export const similarItemsSchema = named('SimilarItems', {
  itemId: z.string(),
  version,
  items: z.array(z.strictObject({ ...itemWords, score: cosine() })),
  ...listWords
})

export type RecommendedItem = Shape<typeof recommendedItemSchema>
export type SessionRecommendations = Shape<typeof sessionRecommendationsSchema>
export type Recommendations = Shape<typeof recommendationsSchema>
export type SimilarItems = Shape<typeof similarItemsSchema>

export const userProfileSchema = named('User', {
  userId: z.string(),
  version: text('`indexVersion@step` of the vectors'),
  historyLength: count('Steps of the history, which may be more than are shown'),
  newestMs: time('Event time of the newest step'),
  updatedAtMs: time('When the vectors were made: changes whenever the user is published again'),
  history: z
    .array(z.strictObject({ ...itemWords, at: place(), interest: count('The nearest one').exactOptional() }))
    .describe('Newest first'),
  interests: z.array(
    z.strictObject({
      interest: count('0-based'),
      strength: strength().exactOptional(),
      nearest: z
        .array(z.strictObject({ ...itemWords, at: place(), score: cosine() }))
        .describe('Nearest first, items of the history included'),
      at: place(),
      vector: vector()
    })
  ),
  mapShare: ratio('Share of the variance between the interests that the map shows; absent: no map').exactOptional()
})

export const itemProfileSchema = named('Item', {
  itemId: z.string(),
  title: z.string().exactOptional(),
  features: z.record(z.string(), z.array(z.string())),
  count: amount('Interactions that the trainer has seen'),
  availableFromMs: time('In no list before then').exactOptional(),
  availableUntilMs: time('In no list from then on').exactOptional(),
  updatedAtMs: time('When its vector was made'),
  vector: vector()
})

export const usersSchema = named('Users', {
  users: z.array(
    z.strictObject({
      userId: z.string(),
      historyLength: count('Steps of the history'),
      newestMs: time('Event time of the newest step')
    })
  ),
  order: z.enum(['newest', 'id']),
  next: pageWords.next
})

export const itemsSchema = named('Items', {
  items: z.array(
    z.strictObject({
      ...itemWords,
      count: amount('Interactions that the trainer has seen'),
      popularity: ratio(
        'Decayed interactions as a share of those of the most popular item; the list without a text is sorted by it'
      ).exactOptional()
    })
  ),
  ...pageWords
})

export type UserProfile = Shape<typeof userProfileSchema>
export type ItemProfile = Shape<typeof itemProfileSchema>
export type Users = Shape<typeof usersSchema>
export type Items = Shape<typeof itemsSchema>

const accountSchema = named('Account', {
  reader: z.enum(Object.keys(readers) as (keyof typeof readers)[]),
  read: count('Records read: the sum of the outcomes and of `waiting`'),
  outcomes: z.record(z.string(), z.int().min(0)),
  waiting: count('Read, and without an outcome yet')
})

export const readySchema = named('Ready', {
  ready: z.literal(true),
  detail: z.string(),
  accounts: z.array(accountSchema).exactOptional()
})

const qualitySchema = z.strictObject({
  targets: count('Examples ranked'),
  model: ratio('Hit rate@20 of the model'),
  popularity: ratio('Of the better popularity ranking'),
  cooccurrence: ratio('Of item-to-item co-occurrence')
})

/**
 * What a process knows of the pipeline that it runs, or that runs beside it. Counts are since the start of the run
 * unless they say otherwise. What is absent is not known to this process.
 */
const pipelineSchema = z
  .strictObject({
    source: text('Where events come from'),
    backend: text('What computes the model'),
    newestEventMs: time('Newest event time of the stream'),
    records: z
      .array(accountSchema.extend({ text: text('The same in words') }))
      .describe('Of each stage, in the order of the flow'),
    ignoredTypes: z
      .record(z.string(), z.int().min(0))
      .describe('Events of types without a weight, by type: of many types the most frequent'),
    users: count('Users with a history'),
    stages: z.array(
      z.strictObject({
        stage: z.enum(['sequence', 'train', 'publish']),
        lagSeconds: number('Behind the newest record of its input, in the time of the log'),
        waiting: count('Records that wait for it'),
        done: count('Records processed')
      })
    ),
    training: z.strictObject({
      examplesTrained: count('Examples trained on'),
      batches: count('Training steps'),
      batchesDropped: count('Batches dropped because their loss was not finite'),
      rollbacks: count('Returns to a checkpoint'),
      loss: number('Mean loss of the last step'),
      intraUserCosine: number('Mean cosine between two interests of one user: near 1 the towers have collapsed'),
      recent: qualitySchema.describe('Over the newest targets'),
      curve: z
        .array(
          qualitySchema.extend({
            examples: count('Seen by the end of the period'),
            timeMs: time('Newest event time by then')
          })
        )
        .describe('Over the whole stream, in separate periods')
    }),
    drift: z
      .strictObject({
        inputs: z.array(
          z.strictObject({
            feature: text('Of the interactions'),
            psi: number('Population stability index against the reference'),
            threshold: number('At which it raises an alarm')
          })
        ),
        detections: z
          .array(
            z.strictObject({
              signal: text('What changed'),
              detector: z.string(),
              value: number('Of the detector'),
              eventTimeMs: time('Event time')
            })
          )
          .describe('Newest first')
      })
      .describe('Distance of the newest interactions from the reference; empty while the reference is gathered'),
    freshnessMs: z
      .strictObject({ p50: number('Median'), p99: number('99th percentile') })
      .describe('From the append of a click to the log until the new vectors of its user are searchable')
  })
  .partial()

const answersSchema = z.strictObject({
  lists: count('Lists answered by this process'),
  events: count('Events that it accepted over HTTP'),
  p50Ms: number('Median time of the newest lists').exactOptional(),
  p99Ms: number('99th percentile').exactOptional()
})

export const statusSchema = named('Status', {
  version: text('Of the program'),
  nowMs: time("The server's clock"),
  ready: z.boolean(),
  detail: text('What is fresh, or what waits since when'),
  index: z
    .strictObject({
      indexVersion: text('Index version'),
      step: count('Newest step of its items'),
      items: z.int().min(0),
      users: z.int().min(0),
      dimensions: z.int().min(0),
      interestCount: count('Interests of a user')
    })
    .nullable()
    .describe('null: nothing is published yet, or the index does not answer'),
  answers: answersSchema,
  eventTypes: z.array(z.string()).describe('Event types with a weight; the console sends clicks as the first one'),
  ...pipelineSchema.shape
})

export const versionsSchema = named('Versions', {
  live: z.string().nullable().describe('`indexVersion@step`; null: nothing is published yet'),
  kept: z.array(z.string()).describe('Other versions of the index'),
  gates: z
    .array(
      z.strictObject({
        step: z.int().min(0),
        atMs: time('When it was evaluated'),
        outcome: text('`accepted`, `refused` and the like'),
        detail: text('What was compared, and why it was refused')
      })
    )
    .describe('Newest first'),
  checkpoints: z
    .array(
      z.strictObject({
        step: count('Argument of `mtmi rollback`'),
        version: z.boolean().describe('Kept beyond the newest ones'),
        savedAtMs: time('When it was taken').exactOptional(),
        examplesTrained: z.int().min(0),
        damaged: text('Why it cannot be read').exactOptional()
      })
    )
    .describe('Newest first'),
  held: z.array(z.string()).describe('What waits or is held back, in words')
})

export type PipelineNumbers = Shape<typeof pipelineSchema>
export type QualityNumbers = Shape<typeof qualitySchema>
export type AnswerNumbers = Shape<typeof answersSchema>
export type ServiceStatus = Shape<typeof statusSchema>
export type VersionNumbers = Shape<typeof versionsSchema>

/** RFC 9457. */
export const problemSchema = named('Problem', {
  type: text('Names the kind; stable'),
  title: text('The same for every problem of a type'),
  status: z.int(),
  detail: text('What is wrong, the value, and what to do'),
  instance: text('Path of the request').exactOptional(),
  problems: z.array(z.string()).describe('Everything that is wrong').exactOptional(),
  requestId: text('Finds the log line of an internal error').exactOptional()
})

export type Problem = Shape<typeof problemSchema>
