// What `files` in the configuration may say: which files `mtmi up` loads once, and which of their columns our fields
// are. Formats and columns are those of `mtmi replay --data` (docs/data-formats.md).

import { z } from 'zod'
import { filters } from './sources.ts'

/** A name, or a number from 1. */
const column = z.preprocess((given) => (typeof given === 'number' ? String(given) : given), z.string().min(1))
/** `features: brand` is short for a list of one. */
const columns = z.preprocess((given) => (typeof given === 'string' ? [given] : given), z.array(column).min(1).max(64))

const fileSchema = z
  .strictObject({
    path: z.string().min(1),
    kind: z.enum(['interactions', 'items']).default('interactions'),
    /** Name of a format; recognised where it is absent. */
    format: z.string().min(1).optional(),
    /** Columns by name, or by number from 1; in JSON lines paths. */
    user: column.optional(),
    item: column.optional(),
    type: column.optional(),
    value: column.optional(),
    /** `none` leaves times out. */
    time: z
      .preprocess(
        (given) => (typeof given === 'object' ? given : { path: given }),
        z.strictObject({
          path: column,
          unit: z.enum(['s', 'ms', 'us', 'ns', 'iso', 'rfc2822']).optional(),
          /** Instead of a unit: a pattern of luxon, such as `dd/MM/yyyy HH:mm:ss`. */
          format: z.string().min(1).optional(),
          /** Of times without a zone, such as Europe/Berlin. Default UTC. */
          zone: z.string().min(1).optional()
        })
      )
      .optional(),
    title: column.optional(),
    features: columns.optional(),
    filter: filters
  })
  .superRefine((file, context) => {
    const foreign =
      file.kind === 'items' ? (['user', 'type', 'value', 'time'] as const) : (['title', 'features'] as const)
    for (const name of foreign)
      if (file[name] !== undefined)
        context.addIssue({ code: 'custom', path: [name], message: `has no meaning for a file of kind ${file.kind}` })
    if (file.time?.unit !== undefined && file.time.format !== undefined)
      context.addIssue({ code: 'custom', path: ['time'], message: 'has a unit and a format; give one of them' })
  })

export type FileOptions = z.infer<typeof fileSchema>

export const filesSchema = z
  .array(fileSchema)
  .max(64)
  .default([])
  .describe(
    'Files that `mtmi up` loads once, before it follows the topics of `sources`: events in the order of their times, and catalogues. `mtmi init` proposes them'
  )
