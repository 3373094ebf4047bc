// What a request for a list may say.

import { z } from 'zod'
import { filterSchema, ruleSchema, rulesMax } from '../../core/config/listRules.ts'
import { limitMax } from '../listRequest.ts'
import { unwantedMax } from '../unwanted.ts'
import { queryFilterSchema } from './filters.ts'
import { bodyIdSchema, eventTimeSchema, idSchema } from './validation.ts'

/** Steps of a history in a request: the longest window that can be configured. */
const historyStepsMax = 1000
const limitDefault = 10
/** Items that one request may exclude by id. */
const excludeMax = 1000
/** Users of one list. */
const companionsMax = 16
/** Items of a basket: each is searched for on its own. */
const basketMax = 50
/** Event types of `repeatsAfter`. */
const repeatTypesMax = 16
/** Facts of a context: more than popularity can be counted by. */
const contextMax = 8

export const limitSchema = z.int().min(1).max(limitMax).default(limitDefault).describe('Maximum length of the list')

export const cursorSchema = z
  .string()
  .min(1)
  .max(8192)
  .describe('`next` of the page before, with the same parameters; absent: the first page')
  .exactOptional()

export const listSchema = z.strictObject({
  limit: limitSchema,
  explain: z
    .boolean()
    .default(false)
    .describe('Name the items of the history that are nearest to each result, and those after which it is often taken'),
  memory: z
    .boolean()
    .describe('Whether what others took after the newest items of the history counts; default true')
    .exactOptional(),
  cursor: cursorSchema,
  filter: queryFilterSchema.exactOptional(),
  context: z
    .record(z.string(), z.string())
    .meta({
      maxProperties: contextMax,
      description:
        'Where nothing is known of the user, what is popular in this context comes first; the first field with enough interactions counts: `context.country=de`, one parameter per field'
    })
    .exactOptional(),
  exclude: z
    .array(idSchema('An item'))
    .max(excludeMax)
    .describe(
      'Excluded besides the history, such as the items in the basket; in a query repeated, or separated by commas'
    )
    .exactOptional(),
  quota: z
    .number()
    .min(0)
    .max(1)
    .describe('Share of the list that is divided among the interests by strength')
    .exactOptional(),
  diversity: z
    .number()
    .min(0)
    .max(1)
    .describe('How much an item must differ from those in the list already: 0 not at all, 1 nothing else counts')
    .exactOptional(),
  diversityBy: z
    .string()
    .max(256)
    .describe('A field of the features in which items are to differ; empty: their vectors')
    .exactOptional(),
  variant: z
    .string()
    .min(1)
    .max(32)
    .describe('With the options of this arm of `recommend.variants`, to try it: the list is not counted in attribution')
    .exactOptional(),
  pin: z
    .array(idSchema('An item'))
    .max(excludeMax / 10)
    .describe('Items that come first, in this order, unless they are seen, excluded or not available; as `exclude`')
    .exactOptional(),
  repeats: z.boolean().describe('Whether items that the user has seen may be recommended again').exactOptional(),
  repeatsAfter: z
    .record(z.string(), z.int().min(0).max(1e15))
    .meta({
      title: 'milliseconds by event type, such as repeatsAfter.view=2592000000',
      maxProperties: repeatTypesMax,
      description:
        'By event type, after how many milliseconds seen items may be recommended again: `repeatsAfter.view=2592000000`, one parameter per type; items of other types never. In place of `repeats`'
    })
    .exactOptional()
})

const similarFields = { limit: true, cursor: true, filter: true, exclude: true } as const
export const similarSchema = listSchema.pick(similarFields)
export const popularSchema = listSchema.pick({ ...similarFields, context: true, pin: true, explain: true })

export const stepSchema = z.union([
  bodyIdSchema('An item'),
  z.strictObject({
    itemId: bodyIdSchema('An item'),
    eventTime: eventTimeSchema(
      'ISO 8601 with Z or an offset, or milliseconds since 1970; absent: a second before the next step'
    ).exactOptional()
  })
])

/** For whom the list is: a history, a user, or several users and a basket. */
export const requestSchema = listSchema
  .extend({
    history: z
      .array(stepSchema)
      .min(1)
      .max(historyStepsMax)
      .describe('For a session that is not stored: its items, in any order')
      .exactOptional(),
    userId: bodyIdSchema('For a stored user').exactOptional(),
    filter: filterSchema.exactOptional(),
    userIds: z
      .array(bodyIdSchema('A stored user'))
      .min(1)
      .max(companionsMax)
      .describe('One list for these users: what any of them has seen or does not want is excluded')
      .exactOptional(),
    basket: z
      .array(bodyIdSchema('An item'))
      .min(1)
      .max(basketMax)
      .describe('One list for these items, more like them and what others took after them; also with userId or userIds')
      .exactOptional(),
    negative: z
      .array(bodyIdSchema('An item'))
      .max(unwantedMax)
      .describe('Items like these come later, and they are excluded')
      .exactOptional(),
    rules: z
      .array(ruleSchema)
      .max(rulesMax)
      .describe('Items that are boosted or pinned, before the rules of the configuration')
      .exactOptional()
  })
  .meta({ id: 'ListRequest' })

export type BodyRequest = z.infer<typeof requestSchema>
export type ListOptions = Omit<z.infer<typeof listSchema>, 'filter'>
