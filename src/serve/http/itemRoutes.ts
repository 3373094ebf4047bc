// Changes of the catalogue: durable in the log before the answer; vectors and lists follow.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { Clock } from '../../core/clock.ts'
import { setOwn } from '../../core/own.ts'
import { Turns } from '../../core/promises.ts'
import { itemProblem } from '../../records/admission.ts'
import { availabilityOf, type CatalogueItem } from '../../records/catalogueItem.ts'
import type { ItemId } from '../../records/interaction.ts'
import { named } from '../answers.ts'
import { ProblemError } from './problem.ts'
import { addRoute } from './route.ts'
import { bodyIdSchema, eventTimeMs, eventTimeSchema, invalid } from './validation.ts'

/** An item of the catalogue, or one that is to be deleted. */
export interface ItemChange {
  readonly itemId: ItemId
  /** null: deleted. */
  readonly item: CatalogueItem | null
}

type ItemContent = Omit<CatalogueItem, 'itemId' | 'updatedAtMs'>

export interface ItemParts {
  /** Resolves when the changes are durable. @throws UnavailableError if they cannot be made so now */
  readonly changeItems: (changes: readonly ItemChange[]) => Promise<void>
  /**
   * The newest record of an item, all changes that were durable before the call included; undefined: the catalogue has
   * no such item. Without it items cannot be changed in part.
   */
  readonly currentItem?: (itemId: ItemId) => Promise<ItemContent | undefined>
  readonly clock: Clock
}

/** Items in one request. */
const itemsMax = 1000

const featureSchema = z.union([z.string(), z.number(), z.boolean(), z.array(z.string())])

const window = {
  availableFrom: eventTimeSchema(
    'ISO 8601 with a zone, or milliseconds since 1970: in no list before then'
  ).exactOptional(),
  availableUntil: eventTimeSchema('The same: in no list from then on').exactOptional()
}

const contentShape = {
  title: z.string().nullish(),
  ...window,
  features: z
    .record(z.string(), featureSchema)
    .meta({ title: 'an object of values by field, such as {"category": ["Books"], "price": 9.5}' })
    .nullish()
}

export const patchSchema = named('ItemPatch', {
  title: z.string().nullish().describe('null: without a title'),
  ...window,
  features: z
    .record(z.string(), featureSchema.nullable())
    .meta({ title: 'an object of values by field, such as {"price": 9.5, "discount": null}' })
    .nullish()
    .describe('Replaces the values of each field named; null removes them, or in place of the object all fields')
})
export const contentSchema = named('ItemContent', contentShape)
export const postedItemSchema = named('PostedItem', { itemId: bodyIdSchema('The item'), ...contentShape })
export const changedSchema = named('ChangedItems', {
  itemIds: z.array(z.string()).describe('In the order of the request')
})

export function addItemChangeRoutes(app: FastifyInstance, parts: ItemParts): void {
  const { changeItems, currentItem, clock } = parts
  /** So that no change is lost between the reading of an item and its new record. */
  const turns = new Turns()
  const change = (make: () => readonly ItemChange[] | Promise<readonly ItemChange[]>) =>
    turns.run(async () => {
      const changes = await make()
      await changeItems(changes)
      return { itemIds: changes.map(({ itemId }) => itemId) }
    })
  addRoute(
    app,
    {
      ...{ method: 'PUT', url: '/v1/items/:id', operationId: 'putItem', pathId: 'The item', status: 202 },
      summary: 'Adds an item to the catalogue, or replaces its title and features',
      body: contentSchema,
      answer: changedSchema
    },
    async ({ params, body }) => change(() => itemsOf([{ itemId: params.id, ...body }], clock.nowMs()))
  )
  if (currentItem !== undefined)
    addRoute(
      app,
      {
        ...{ method: 'PATCH', url: '/v1/items/:id', operationId: 'patchItem', pathId: 'The item', status: 202 },
        summary: 'Changes the title or some features of an item of the catalogue; what is not named stays',
        body: patchSchema,
        answer: changedSchema,
        errors: { 404: 'The item is not in the catalogue' }
      },
      async ({ params: { id }, body }) =>
        change(async () => {
          const item = await currentItem(id.trim())
          if (item !== undefined) return itemsOf([{ itemId: id, ...patched(item, body) }], clock.nowMs())
          throw new ProblemError(404, `item ${JSON.stringify(id)} is not in the catalogue; PUT adds it`)
        })
    )
  addRoute(
    app,
    {
      ...{ method: 'POST', url: '/v1/items', operationId: 'postItems', status: 202 },
      summary: 'Adds items to the catalogue, or replaces their titles and features, all of them or none',
      body: z.array(postedItemSchema).min(1).max(itemsMax),
      answer: changedSchema
    },
    async ({ body }) => change(() => itemsOf(body, clock.nowMs()))
  )
  addRoute(
    app,
    {
      ...{ method: 'DELETE', url: '/v1/items/:id', operationId: 'deleteItem', pathId: 'The item', status: 202 },
      summary: 'Deletes an item of the catalogue: it leaves the index, and is in no list until it is added again',
      answer: changedSchema
    },
    async ({ params, body }) => {
      if (body !== undefined) throw new ProblemError(400, 'deleting an item takes no body')
      return change(() => [{ itemId: params.id, item: null }])
    }
  )
}

/** As a JSON merge patch (RFC 7396). */
function patched(
  item: ItemContent,
  { features = {}, ...patch }: z.infer<typeof patchSchema>
): Omit<z.infer<typeof postedItemSchema>, 'itemId'> {
  const { title, availableFromMs: availableFrom = null, availableUntilMs: availableUntil = null } = item
  const kept = { title, availableFrom, availableUntil, ...patch }
  const merged: Record<string, z.infer<typeof featureSchema>> = {}
  if (features === null) return { ...kept, features: merged }
  for (const [field, values] of Object.entries(item.features)) setOwn(merged, field, [...values])
  for (const [field, value] of Object.entries(features)) {
    if (value === null) delete merged[field]
    else setOwn(merged, field, value)
  }
  return { ...kept, features: merged }
}

/** @throws ProblemError 400 with all problems */
function itemsOf(posted: readonly z.infer<typeof postedItemSchema>[], updatedAtMs: number): ItemChange[] {
  const problems: string[] = []
  const changes = posted.map(({ itemId, title = null, features, availableFrom, availableUntil }, i): ItemChange => {
    const texts: Record<string, string[]> = {}
    for (const [field, value] of Object.entries(features ?? {})) setOwn(texts, field, [value].flat().map(String))
    const id = itemId.trim()
    const availableFromMs = availableFrom == null ? undefined : eventTimeMs(availableFrom)
    const availableUntilMs = availableUntil == null ? undefined : eventTimeMs(availableUntil)
    const item = {
      ...{ itemId: id, ...(title === null ? {} : { title }), features: texts, updatedAtMs },
      ...availabilityOf({ availableFromMs, availableUntilMs })
    }
    const problem = itemProblem(item)
    if (problem !== undefined) problems.push(posted.length > 1 ? `[${i}]: ${problem}` : problem)
    return { itemId: id, item }
  })
  if (problems.length > 0) throw invalid(problems)
  return changes
}
