// Conditions on the features of items, and rules that boost or pin items: the same in the configuration and in the body of
// a request.

import { z } from 'zod'

/** Fields of a filter, and values of a field: more is a program's mistake. */
export const fieldsMax = 16
export const valuesMax = 100

const valueSchema = z.string().min(1).max(1024)

const boundSchema = z.union([z.number(), valueSchema]).describe('A number, or an ISO 8601 date or time')

const conditionSchema = z
  .strictObject({
    any: z.array(valueSchema).min(1).max(valuesMax).describe('One of these values').exactOptional(),
    not: z.array(valueSchema).max(valuesMax).describe('None of these values').exactOptional(),
    gt: boundSchema.exactOptional(),
    gte: boundSchema.exactOptional(),
    lt: boundSchema.exactOptional(),
    lte: boundSchema.exactOptional(),
    exists: z.boolean().describe('Whether it has a value in the field').exactOptional()
  })
  .meta({ title: 'an object of conditions: any, not, gt, gte, lt, lte, exists' })

export const filterSchema = z
  .record(z.string(), z.union([valueSchema, z.array(valueSchema).min(1).max(valuesMax), conditionSchema]))
  .meta({
    title: 'an object of conditions by field, such as {"genre": ["Comedy", "Drama"], "price": {"lt": 10}}',
    maxProperties: fieldsMax,
    description:
      'Only items that meet the conditions of every field: a value, a list of values of which one is enough, or an object. Values are compared as they are, case included'
  })

/** Of a request, and of the configuration: each is a search of its own. */
export const rulesMax = 16
/** Items that a rule names. */
const ruleItemsMax = 100

export const ruleSchema = z
  .strictObject({
    items: z
      .array(valueSchema)
      .min(1)
      .max(ruleItemsMax)
      .describe('IDs of the items that the rule is about')
      .exactOptional(),
    filter: filterSchema.describe('The rule is about the items that meet these conditions').exactOptional(),
    boost: z
      .number()
      .min(-10)
      .max(10)
      .describe(
        'Added to the score of the items, which is a cosine, or the popularity as a share of the most popular item. Less than 0: they come later. Of several rules the strongest counts'
      )
      .exactOptional(),
    pin: z
      .int()
      .min(1)
      .max(1000)
      .describe(
        'Place from which the items are listed, in their order; of a filter without items, the place of the best item that meets it'
      )
      .exactOptional(),
    repeats: z.boolean().describe('Of a pin: whether it holds for items that the user has seen').exactOptional()
  })
  .meta({
    title:
      'an object with items or filter, and boost or pin, such as {"filter": {"brand": "Acme"}, "boost": 0.1} or {"items": ["a"], "pin": 1}'
  })

export type ListRule = z.infer<typeof ruleSchema>

/** What a schema cannot say of a rule; undefined: nothing is wrong. */
export function ruleProblem({ items, filter, boost, pin, repeats }: ListRule): string | undefined {
  if (items === undefined && filter === undefined) return 'name the items of the rule, or give a filter'
  if ((boost === undefined) === (pin === undefined)) return 'give either boost or pin'
  return repeats === undefined || pin !== undefined ? undefined : 'repeats is for a pin'
}
