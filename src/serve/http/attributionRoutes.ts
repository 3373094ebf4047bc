// Which lists were clicked.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { Attribution } from '../attribution/attribution.ts'
import { attributionReport, attributionSchema } from '../attribution/attributionReport.ts'
import type { Variants } from '../attribution/variants.ts'
import { addRoute } from './route.ts'

export function addAttributionRoute(app: FastifyInstance, attribution: Attribution, variants: Variants): void {
  addRoute(
    app,
    {
      ...{ method: 'GET', url: '/v1/attribution', operationId: 'attribution' },
      summary:
        'Click-through and hit rate of the lists of this process, by variant, model version, position and origin',
      query: z.strictObject({
        variant: z.string().min(1).max(32).describe('Only lists of this variant').exactOptional()
      }),
      answer: attributionSchema
    },
    async ({ query: { variant } }) => attributionReport(attribution, variants, variant)
  )
}
