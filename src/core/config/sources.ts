// What `sources` in the configuration may say: which topics of others are read, in which format, and where in their
// records our fields are.

import { z } from 'zod'
import { ConfigError } from '../errors.ts'
import { parseFieldPath } from '../fieldPath.ts'
import { own } from '../own.ts'

const sourceFormats = ['json', 'avro-registry', 'avro', 'cloudevents', 'csv', 'tsv', 'mtmi'] as const

const path = z.string().superRefine((text, context) => {
  try {
    parseFieldPath(text)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    context.addIssue({ code: 'custom', message: error.message })
  }
})

/** One path, or several of which the first that is there counts. */
const paths = z.preprocess((given) => (typeof given === 'string' ? [given] : given), z.array(path).min(1).max(8))

/** `time: payload.ts` is short for `time: { path: payload.ts }`. */
const orJustPaths = <T extends z.ZodType>(schema: T) =>
  z.preprocess((given) => (typeof given === 'string' || Array.isArray(given) ? { path: given } : given), schema)

const scalar = z.union([z.string(), z.number(), z.boolean()], { error: 'expected text, a number, true or false' })

const filter = z.strictObject({
  path,
  equals: scalar.optional(),
  in: z.array(scalar).min(1).max(1000).optional(),
  exists: z.boolean().optional()
})

export const filters = z.preprocess(
  (given) => (given === undefined || Array.isArray(given) ? given : [given]),
  z.array(filter).max(32).default([])
)

const itemFields = ['title', 'availableFrom', 'availableUntil', 'features', 'deleted'] as const

export const sourceSchema = z.strictObject({
  topic: z.string().min(1).max(249),
  kind: z.enum(['interactions', 'items']).default('interactions'),
  format: z.enum(sourceFormats),
  /** Of format avro: a file, or the schema itself. */
  schema: z
    .union([z.string().min(1), z.record(z.string(), z.unknown())], { error: 'expected a file name or an Avro schema' })
    .optional(),
  /** Of csv and tsv: names of the fields, in order. Without them fields are [0], [1], … */
  columns: z.array(z.string().min(1)).min(1).max(1000).optional(),
  /** Of csv. Default: a comma. */
  delimiter: z.string().length(1).optional(),
  user: paths.optional(),
  item: paths.optional(),
  type: orJustPaths(
    z.strictObject({
      path: paths,
      /** Their names of events → ours. */
      names: z.record(z.string(), z.string().min(1)).optional(),
      /** What becomes of an event whose name is not in the table: it is left out, or keeps its name. */
      others: z.enum(['filter', 'keep']).default('filter')
    })
  ).optional(),
  time: orJustPaths(
    z.strictObject({
      path: paths,
      unit: z.enum(['s', 'ms', 'us', 'ns', 'iso', 'rfc2822']).optional(),
      /** Instead of a unit: a pattern of luxon, such as `dd/MM/yyyy HH:mm:ss`. */
      format: z.string().min(1).optional(),
      /** Of times without a zone, such as Europe/Berlin. Default UTC. */
      zone: z.string().min(1).optional()
    })
  ).optional(),
  eventId: orJustPaths(
    z.strictObject({
      path: paths,
      /**
       * Where the ids are unique: in this source, or in all. An event with an id that was seen before is a repetition.
       */
      scope: z.enum(['source', 'global']).default('source')
    })
  ).optional(),
  value: paths.optional(),
  /** The `listId` of the answer that the event came from. */
  listId: paths.optional(),
  context: z.record(z.string().min(1), paths).default({}),
  title: paths.optional(),
  /** Of kind items: ISO 8601, or milliseconds since 1970. */
  availableFrom: paths.optional(),
  availableUntil: paths.optional(),
  features: z
    .record(z.string().min(1), orJustPaths(z.strictObject({ path: paths, split: z.string().min(1).optional() })))
    .default({}),
  /** Of kind items: the item is deleted if one of these tests is met. */
  deleted: filters,
  filter: filters
})

export type SourceOptions = z.infer<typeof sourceSchema>
export type SourceFilter = SourceOptions['filter'][number]

/**
 * What is wrong between the parts of sources, each of which may be sound. Looks at sources as they were given, so that
 * these problems are reported together with those of single values.
 *
 * @param ours names of our own topics
 */
export function sourceProblems(sources: unknown, ours: readonly string[]): string[] {
  if (!Array.isArray(sources)) return []
  const problems: string[] = []
  const seen = new Set<string>()
  for (const [i, given] of sources.entries()) {
    if (typeof given !== 'object' || given === null) continue
    const source = given as Partial<Record<keyof SourceOptions, unknown>>
    const at = `sources.${i}${typeof source.topic === 'string' ? ` (${source.topic})` : ''}`
    const has = (name: keyof SourceOptions) => source[name] !== undefined
    if (typeof source.topic === 'string') {
      if (seen.has(source.topic))
        problems.push(`${at}: the topic is named twice; give alternatives as lists: user: [a.id, b.id]`)
      if (ours.includes(source.topic))
        problems.push(`${at}: this topic is what mtmi writes; a stage would read what it has written`)
      seen.add(source.topic)
    }
    const items = source.kind === 'items'
    const mapped = source.format !== 'mtmi'
    const needed: (keyof SourceOptions)[] = !mapped ? [] : items ? ['item'] : ['user', 'item']
    // A CloudEvent has its type and time in its headers.
    if (mapped && !items && source.format !== 'cloudevents') needed.push('type', 'time')
    for (const name of needed) {
      if (!has(name))
        problems.push(`${at}: ${name} is missing: where in a record is it? ${hints[name] ?? ''}`.trimEnd())
    }
    const foreign: readonly (keyof SourceOptions)[] = items
      ? ['user', 'type', 'eventId', 'value', 'listId', 'context']
      : mapped
        ? itemFields
        : [...itemFields, 'user', 'item', 'type', 'time', 'eventId', 'value', 'listId', 'context']
    for (const name of foreign) {
      if (has(name))
        problems.push(
          `${at}: ${name} has no meaning for ${items || mapped ? `kind ${items ? 'items' : 'interactions'}` : 'format mtmi, whose records have it'}`
        )
    }
    if (items && !mapped)
      problems.push(`${at}: format mtmi is for interactions; a topic of our items needs no mapping: set topics.items`)
    if (source.format === 'avro' && !has('schema')) {
      problems.push(
        `${at}: schema is missing: format avro needs the writer's schema, as a file name or inline; with a registry the format is avro-registry`
      )
    }
    if (source.format !== 'avro' && has('schema'))
      problems.push(`${at}: schema has no meaning for format ${String(source.format)}`)
    const isDelimited = source.format === 'csv' || source.format === 'tsv'
    if (!isDelimited && has('columns'))
      problems.push(`${at}: columns has no meaning for format ${String(source.format)}`)
    if (source.format !== 'csv' && has('delimiter'))
      problems.push(`${at}: delimiter has no meaning for format ${String(source.format)}`)
    const time = source.time
    if (typeof time === 'object' && time !== null && 'unit' in time && 'format' in time)
      problems.push(`${at}: time has a unit and a format; give one of them`)
    for (const one of [source.filter, source.deleted].flat()) {
      if (typeof one !== 'object' || one === null) continue
      const tests = ['equals', 'in', 'exists'].filter((name) => own(one as Record<string, unknown>, name) !== undefined)
      if (tests.length !== 1)
        problems.push(`${at}: a filter needs exactly one of equals, in, exists; it has ${tests.join(', ') || 'none'}`)
    }
  }
  return problems
}

const hints: Partial<Record<keyof SourceOptions, string>> = {
  type: 'A topic of one type says it itself: type: =click',
  time: "log:time is when the log took the record, if the producer's own time is not in it"
}
