// What can be configured between model and answer: publishing, what is popular, lists, the HTTP services, and what is
// watched.

import { z } from 'zod'
import { count, dayMs, durationMs, minuteMs, real, section, textList } from './settingTypes.ts'

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
  userWaitMs: durationMs(minuteMs).default(50).describe('Changes of one user within this are written once'),
  sweepIntervalMs: durationMs(dayMs)
    .default(60_000)
    .describe('No user vector is older than this after the tower weights moved'),
  versionsKept: count(1, 100)
    .default(2)
    .describe('Versions of the index, the live one and the newest before it: each takes as much room as the live one'),
  gate: section({
    targets: count(0, 100_000)
      .default(2000)
      .describe(
        'Newest targets on which new tower weights are compared with the live ones before they are published; 0 looks at none'
      ),
    hitLossMax: real(0, 1)
      .default(0.01)
      .describe('Weights that find fewer of them in the first 20 than this share are refused, if it is not by chance')
  })
})

export const popularitySchema = section({
  halfLifeMs: count(1000, 3650 * dayMs)
    .default(dayMs)
    .describe(
      'An interaction counts half after this: what is popular follows a change within about one. A day evens out day and night; shorter follows news, longer suits few interactions'
    ),
  contexts: textList(z.string().min(1).max(100), 8)
    .default([])
    .describe(
      'Fields of the interactions’ context, such as country and device, within which popularity is counted too; as a variable separated by commas. Few values each: not a session or a user'
    ),
  contextMin: real(1, 1e9)
    .default(100)
    .describe(
      'Faded count from which on a context is published, an item of a user counting once and a new user in part: fewer are chance, and might tell of a single user'
    )
})

export const recommendSchema = section({
  quotaShare: real(0, 1)
    .default(0.4)
    .describe(
      'Share of a list that is divided evenly among the interests before the rest goes to the best scores: of 10 or 20 places four interests get 1 or 2 each, so that none is starved. 0: the scores alone'
    ),
  diversity: real(0, 1)
    .default(0)
    .describe(
      'How much an item must differ from those already in the list (MMR): 0 not at all, 1 nothing else counts. The interests are diverse by training'
    ),
  diversityBy: z
    .string()
    .max(256)
    .default('')
    .describe('A field of catalogue features, such as genre, in which items are to differ. Empty: their vectors'),
  repeats: z.boolean().default(false).describe("Whether items of the user's history may be recommended again")
})

export const serveSchema = section({
  host: z.string().min(1).default('127.0.0.1'),
  port: count(0, 65535).default(8080).describe('0 takes a free one'),
  activeMax: count(1, 100_000)
    .default(1000)
    .describe(
      'Requests of one kind answered at a time, counted apart for reads, event posts and administration; one more gets 503: a longer queue would only make all of them wait'
    ),
  readToken: tokens().describe(
    'Whoever sends one of these may ask for recommendations and similar items. Several, separated by commas, while one is changed for another. Rather by MTMI_SERVE_READ_TOKEN_FILE'
  ),
  eventsToken: tokens().describe('Whoever sends one of these may post events'),
  adminToken: tokens().describe(
    'Whoever sends one of these may do everything: look at users and items, as the console does, and erase a user. With any token set, nothing but health, metrics and descriptions is told without one'
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
      'Host names besides loopback ones by which requests without tokens are answered; needed to listen beyond loopback without tokens. Every page whose name resolves to this machine could otherwise ask (DNS rebinding). * is any name: only where something in front asks who they are. As a variable separated by commas'
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
      'Origins whose web pages may post events and ask for recommendations (CORS), with a token where tokens are set; * is every page, and needs tokens. Never for routes of adminToken. As a variable separated by commas'
    ),
  sessions: z
    .boolean()
    .default(true)
    .describe(
      'Whether `POST /v1/recommendations` answers sessions that are not stored. `mtmi serve` then follows the model on a thread of its own, which costs its memory: item rows, towers and the engine'
    ),
  console: z
    .boolean()
    .default(true)
    .describe(
      'The page at / and the routes by which it looks at users and items: with adminToken where there are tokens'
    )
})

export const opsSchema = section({
  host: z
    .string()
    .min(1)
    .default('127.0.0.1')
    .describe(
      'Where a stage shows /livez, /readyz and /metrics; in a container 0.0.0.0. Not for the public: keep it behind a network policy'
    ),
  port: count(0, 65535).default(0).describe('0: nothing listens. `serve` and `start` show the same on serve.port too')
})

export const driftSchema = section({
  windowSessions: count(100, 10_000_000)
    .default(1000)
    .describe('Sessions at least in a window; the four windows before it are what it is compared with'),
  windowMs: durationMs(30 * dayMs)
    .default(60 * minuteMs)
    .describe('Least event time of a window. Six hours make the reference a day, where day and night differ much'),
  psiMin: real(0.01, 10)
    .default(0.05)
    .describe(
      'A population stability index below this is no alarm (item popularity: below twice this); docs/drift.md has the rate of false alarms and what is seen'
    )
})

export const traceSchema = section({
  enabled: z
    .boolean()
    .default(false)
    .describe(
      'Carry the `traceparent` of an event to the vectors that come of it, tell of each on the way in the log, and make spans through the OpenTelemetry API: they go nowhere unless an SDK is loaded before the program'
    )
})
