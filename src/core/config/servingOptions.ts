// What can be configured between model and answer: publishing, what is popular, lists, the HTTP services, and what is
// watched.

import { z } from 'zod'
import { ruleProblem, ruleSchema, rulesMax } from './listRules.ts'
import { count, dayMs, durationMs, minuteMs, real, section, textList } from './settingTypes.ts'

/** `default`: users in no variant. `none`: lists for nobody in particular. `forced`: lists by `?variant=`. */
const reservedVariants: ReadonlySet<string> = new Set(['default', 'none', 'forced', 'other'])

/** 16 characters of base64 are 96 bits: not to be guessed. The characters are those of RFC 6750. */
const tokens = () =>
  z
    .string()
    .refine(
      (text) => text.split(/[\s,]+/).every((token) => token === '' || /^[A-Za-z0-9._~+/-]{16,1024}=*$/.test(token)),
      'each token must have 16 to 1024 of the characters A-Z a-z 0-9 . _ ~ + / -, such as `openssl rand -base64 24` gives'
    )
    .default('')

export const publishSchema = section({
  sweepIntervalMs: durationMs(dayMs)
    .default(60_000)
    .describe('Maximum time until all user vectors are updated after the tower weights changed'),
  versionsKept: count(1, 100)
    .default(2)
    .describe(
      'Number of index versions kept: the live one and the newest before it. Each needs as much storage as the live one'
    ),
  gate: section({
    targets: count(0, 100_000)
      .default(2000)
      .describe(
        'Number of newest targets on which new tower weights are compared with the live ones before they are published. 0: no comparison'
      ),
    hitLossMax: real(0, 1)
      .default(0.01)
      .describe(
        'New weights are rejected if their hit rate@20 on these targets is lower by more than this, and the difference is significant'
      )
  })
})

export const popularitySchema = section({
  halfLifeMs: count(1000, 3650 * dayMs)
    .default(dayMs)
    .describe(
      'Half-life of an interaction in the popularity count. Shorter follows news; longer suits few interactions'
    ),
  contexts: textList(z.string().min(1).max(100), 8)
    .default([])
    .describe(
      'Context fields, such as country and device, by whose values popularity is also counted. Use fields with few values. The variable takes a list separated by commas'
    ),
  contextMin: real(1, 1e9)
    .default(100)
    .describe(
      'Minimum decayed count of a context value before its popular items are published. Protects single users from being identified'
    )
})

const repeatsSchema = z.union([z.boolean(), z.record(z.string(), durationMs(3650 * dayMs))])

/** An arm of an experiment: a share of the users, and the options in which their lists differ. */
const variantSchema = z.strictObject({
  name: z
    .string()
    .regex(/^\w[\w-]{0,31}$/, 'must have up to 32 letters, digits, _ and -')
    .refine((name) => !reservedVariants.has(name), `must not be ${[...reservedVariants].join(' or ')}`),
  share: real(0, 1),
  quotaShare: real(0, 1).exactOptional(),
  diversity: real(0, 1).exactOptional(),
  diversityBy: z.string().max(256).exactOptional(),
  repeats: repeatsSchema.exactOptional(),
  memory: z.boolean().exactOptional(),
  /** Popular items, whatever is known of the user: a baseline. */
  popular: z.boolean().exactOptional()
})
export type VariantOptions = z.infer<typeof variantSchema>

const variantsSchema = z
  .array(variantSchema)
  .max(4)
  .superRefine((variants, context) => {
    const names = variants.map(({ name }) => name)
    const twice = names.find((name, i) => names.indexOf(name) < i)
    if (twice !== undefined) context.addIssue({ code: 'custom', message: `two variants have the name ${twice}` })
    const sum = variants.reduce((total, { share }) => total + share, 0)
    if (sum > 1 + 1e-9) context.addIssue({ code: 'custom', message: `the shares add up to ${sum}: at most 1` })
  })

export const recommendSchema = section({
  variants: variantsSchema
    .default([])
    .describe(
      'Arms of an experiment: `{name: diverse, share: 0.1, diversity: 0.5}` gives a tenth of the users, chosen by a hash, lists with this option. The others are the variant `default`. Options: quotaShare, diversity, diversityBy, repeats, memory, popular. See docs/experiments.md'
    ),
  quotaShare: real(0, 1)
    .default(0.4)
    .describe(
      'Share of a list that is divided among the interests by strength, the share of the history that each explains. The rest is filled by score. 0: by score only'
    ),
  diversity: real(0, 1)
    .default(0)
    .describe(
      'Weight of diversity against the score (maximal marginal relevance). 0: by score only; 1: by diversity only'
    ),
  diversityBy: z
    .string()
    .max(256)
    .default('')
    .describe('Catalogue feature, such as genre, by which diversity is measured. Empty: by item vectors'),
  repeats: repeatsSchema
    .default(false)
    .describe(
      'Whether items that the user has seen can be recommended again. By event type, after how many milliseconds: {"view": 2592000000} allows viewed items again after 30 days, and items of other types never'
    ),
  rules: z
    .array(
      ruleSchema.superRefine((rule, issues) => {
        const problem = ruleProblem(rule)
        if (problem !== undefined) issues.addIssue({ code: 'custom', message: problem })
      })
    )
    .max(rulesMax)
    .default([])
    .describe(
      'Items that are boosted or pinned in every list for a user: {"filter": {"brand": "Acme"}, "boost": 0.1}, {"items": ["a"], "pin": 1}. docs/http-api.md has the rules. The variable takes JSON'
    )
})

export const serveSchema = section({
  host: z.string().min(1).default('127.0.0.1'),
  port: count(0, 65535).default(8080).describe('0: any free port'),
  readToken: tokens().describe(
    'Tokens for recommendations and similar items, separated by commas: give two while you replace one. Secret; prefer the file variable MTMI_SERVE_READ_TOKEN_FILE'
  ),
  eventsToken: tokens().describe('Tokens for posting events'),
  adminToken: tokens().describe(
    'Tokens for all routes, including the console and the deletion of users. If any token is set, only health, metrics and API descriptions are available without one'
  ),
  requestsPerSecond: real(0, 1_000_000)
    .default(0)
    .describe(
      'Requests per second of each token, ten seconds of it at once; more get 429 with Retry-After. Without tokens: of all clients together. 0: no limit. Health, metrics and API descriptions are not counted'
    ),
  hosts: textList(
    z
      .string()
      .regex(
        /^(\*|[^\s/:?#@*]+|\[[\da-fA-F:.]+\])$/,
        'must be a host name or an address without a port, such as rec.internal, or *'
      ),
    100
  )
    .default([])
    .describe(
      'Accepted Host names in addition to loopback names, if no tokens are set; protects against DNS rebinding. Required to listen on other than loopback addresses without tokens. *: any name, only behind a proxy that authenticates. The variable takes a list separated by commas'
    ),
  corsOrigins: textList(
    z
      .string()
      .regex(
        /^(\*|[a-z][a-z0-9+.-]*:\/\/[^\s/?#@]+)$/,
        'must be an origin such as https://shop.example, without a path, or *'
      ),
    100
  )
    .default([])
    .describe(
      'Origins that may post events and request recommendations (CORS), but not use routes of adminToken. *: any origin; requires tokens. The variable takes a list separated by commas'
    ),
  sessions: z
    .boolean()
    .default(true)
    .describe(
      'Whether `POST /v1/recommendations` recommends for histories in the request. `mtmi serve` then keeps the model in memory, in a separate thread'
    ),
  console: z
    .boolean()
    .default(true)
    .describe('Whether the console is served at /, with the routes that it uses. Requires adminToken if tokens are set')
})

export const opsSchema = section({
  host: z
    .string()
    .min(1)
    .default('127.0.0.1')
    .describe(
      'Address on which a stage serves /livez, /readyz and /metrics; 0.0.0.0 in a container. Restrict access by a network policy'
    ),
  port: count(0, 65535).default(0).describe('0: no listener. `serve` and `start` also serve these routes on serve.port')
})

export const driftSchema = section({
  windowMs: durationMs(30 * dayMs)
    .default(60 * minuteMs)
    .describe(
      'Minimum duration of a window in event time. A window is compared with the four before it: with six hours they cover a day. docs/drift.md has the rates of false alarms and the delays'
    )
})

export const traceSchema = section({
  enabled: z
    .boolean()
    .default(false)
    .describe(
      'Whether the `traceparent` of an event is propagated to the vectors computed from it, logged at each stage, and traced by the OpenTelemetry API. Spans are exported only if an SDK is loaded'
    )
})
