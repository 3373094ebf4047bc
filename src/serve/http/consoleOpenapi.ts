// The description of the routes for those who look: `src/serve/http/consoleRoutes.ts`.

import { accountShape, id, type Json, json, list, object, problem, ref, text } from './openapiParts.ts'

interface Shared {
  readonly lookups: boolean
  readonly console: boolean
  /** The parameter `limit`. */
  readonly limit: Json
  /** Responses of a route that asks the index. */
  readonly common: Json
  readonly failed: Json
}

const flag = (name: string, description: string): Json => ({
  ...{ name, in: 'query', description },
  schema: { type: 'boolean', default: false }
})
const path = (description: string): Json => ({
  ...{ name: 'id', in: 'path', required: true, description },
  schema: id('Percent-encoded in the path')
})
const word = (name: string, description: string): Json => ({ name, in: 'query', description, schema: text() })

export function consolePaths({ lookups, console, limit, common, failed }: Shared): Json {
  const unknown = (what: string) => ({ ...common, '404': problem(what) })
  const vectors = flag('vectors', 'With the vectors themselves')
  const page = (description: string, types: readonly string[]): Json => ({
    description,
    content: Object.fromEntries(types.map((type) => [type, { schema: text() }]))
  })
  return {
    ...(lookups
      ? {
          '/v1/status': {
            get: {
              operationId: 'status',
              summary:
                'The whole flow in one small answer: counts, lags, quality, freshness, index; what this process knows of it',
              responses: { '200': json('As of now', ref('Status')), ...failed }
            }
          },
          '/v1/versions': {
            get: {
              operationId: 'versions',
              summary: 'Which weights are served, which were tried and refused, and what can be gone back to',
              responses: { '200': json('As of now', ref('Versions')), ...failed }
            }
          },
          '/v1/users': {
            get: {
              operationId: 'users',
              summary: 'Some users: those who acted last where that is known, otherwise by id',
              parameters: [limit, word('prefix', 'Only ids that begin so')],
              responses: { '200': json('The users', ref('Users')), ...common }
            }
          },
          '/v1/users/{id}': {
            get: {
              operationId: 'user',
              summary: 'A user as the index knows them: history, and the interests by the items nearest to them',
              parameters: [
                path('The user'),
                {
                  name: 'nearest',
                  in: 'query',
                  description: 'Items shown for each interest',
                  schema: { type: 'integer', minimum: 1, maximum: 20, default: 6 }
                },
                flag('map', 'With the place of everything on the plane along which it differs most'),
                vectors
              ],
              responses: { '200': json('The user', ref('User')), ...unknown('There are no vectors of this user') }
            }
          },
          '/v1/items': {
            get: {
              operationId: 'items',
              summary: 'Items: the most popular now, or those that hold a text with the most interactions first',
              parameters: [limit, word('text', 'Only items whose id or title holds it, whatever its case')],
              responses: { '200': json('The items', ref('Items')), ...common }
            }
          },
          '/v1/items/{id}': {
            get: {
              operationId: 'item',
              summary: 'An item as the index knows it',
              parameters: [path('The item'), vectors],
              responses: { '200': json('The item', ref('Item')), ...unknown('The item is not in the index') }
            }
          }
        }
      : {}),
    ...(console
      ? {
          '/': {
            get: {
              operationId: 'console',
              summary: 'A page for people',
              responses: { '200': page('The page', ['text/html']), ...failed }
            }
          },
          '/console/{file}': {
            get: {
              operationId: 'consoleFile',
              summary: 'What the page is made of',
              parameters: [{ name: 'file', in: 'path', required: true, schema: text() }],
              responses: {
                '200': page('The file', ['text/css', 'text/javascript', 'image/svg+xml', 'text/html']),
                '404': problem('The page has no such file'),
                ...failed
              }
            }
          }
        }
      : {})
  }
}

const count = (description?: string): Json => ({
  type: 'integer',
  minimum: 0,
  ...(description === undefined ? {} : { description })
})
const time = (description: string): Json => ({
  type: 'number',
  minimum: 0,
  description: `${description}, milliseconds since 1970`
})
const number = (description: string): Json => ({ type: 'number', description })
const ratio = (description: string): Json => ({ type: 'number', minimum: 0, maximum: 1, description })
const vector = list({ type: 'number' }, { description: 'Of length 1' })
const at = list({ type: 'number' }, { minItems: 2, maxItems: 2, description: 'Place on the map' })
const words = { itemId: text(), title: text(), about: text('Some of its features') }

/** Schemas of the lookups, if there are any. */
export function consoleSchemas(lookups: boolean): Json {
  if (!lookups) return {}
  const quality = {
    targets: count('Examples ranked'),
    model: ratio('Hit rate@20 of the model'),
    popularity: ratio('Of the better popularity ranking'),
    cooccurrence: ratio('Of item-to-item co-occurrence')
  }
  const qualityNames = Object.keys(quality)
  const quantiles = { p50: number('Median'), p99: number('99th percentile') }
  return {
    Status: object(
      {
        version: text('Of the program'),
        nowMs: time("The server's clock"),
        ready: { type: 'boolean' },
        detail: text('What is fresh, or what waits since when'),
        source: text('Where events come from'),
        backend: text('What the model is computed with'),
        newestEventMs: time('Newest event time of the stream'),
        eventTypes: list(text(), { description: 'Types of events that count' }),
        records: list(accountShape({ text: text('The same in words') })),
        ignoredTypes: { type: 'object', additionalProperties: count('Events of this type, which has no weight') },
        users: count('Users with a history'),
        stages: list(
          object(
            {
              stage: { type: 'string', enum: ['sequence', 'train', 'publish'] },
              lagSeconds: number('Behind the newest record of its input, in the time of the log'),
              waiting: count('Records that wait for it'),
              done: count('Records that it has worked off')
            },
            ['stage', 'lagSeconds', 'waiting', 'done']
          )
        ),
        training: object(
          {
            examplesLearned: count(),
            batches: count(),
            batchesDropped: count('Not finite'),
            rollbacks: count('Times that it went back to a checkpoint'),
            loss: number('Mean loss of the last step'),
            intraUserCosine: number('Mean cosine between two interests of one user: near 1 the towers have collapsed'),
            recent: object(quality, qualityNames, 'Of the newest targets'),
            curve: list(
              object(
                {
                  ...quality,
                  examples: count('Seen by the end of the period'),
                  timeMs: time('Newest event time by then')
                },
                [...qualityNames, 'examples', 'timeMs']
              )
            )
          },
          ['examplesLearned', 'batches', 'batchesDropped', 'rollbacks', 'loss', 'intraUserCosine', 'recent', 'curve']
        ),
        drift: object(
          {
            inputs: list(
              object(
                {
                  feature: text('Of the interactions'),
                  psi: number('Population stability index against the reference'),
                  threshold: number('From here on an alarm')
                },
                ['feature', 'psi', 'threshold']
              )
            ),
            detections: list(
              object(
                {
                  signal: text('What changed'),
                  detector: text('Who noticed'),
                  value: number('Of the detector'),
                  eventTimeMs: time('Event time')
                },
                ['signal', 'detector', 'value', 'eventTimeMs']
              ),
              { description: 'Newest first' }
            )
          },
          ['inputs', 'detections'],
          'How far the newest interactions are from those of the reference'
        ),
        freshnessMs: object(
          quantiles,
          ['p50', 'p99'],
          'From the log taking a click to the new vectors being searchable'
        ),
        index: {
          ...object(
            {
              indexVersion: text('Index version'),
              step: count('Newest step of its items'),
              items: count(),
              users: count(),
              dimensions: count(),
              interestCount: count('Interests of a user')
            },
            ['indexVersion', 'step', 'items', 'users', 'dimensions', 'interestCount']
          ),
          type: ['object', 'null'],
          description: 'null: nothing is published yet, or the index does not answer'
        },
        answers: object(
          {
            lists: count('Lists answered by this process'),
            events: count('Events that it took'),
            p50Ms: number('Median time of the newest lists'),
            p99Ms: number('99th percentile')
          },
          ['lists', 'events']
        )
      },
      ['version', 'nowMs', 'ready', 'detail', 'index', 'answers', 'eventTypes'],
      'What is absent is not known to this process'
    ),
    Versions: object(
      {
        live: { type: ['string', 'null'], description: '`indexVersion@step`; null: nothing is published yet' },
        kept: list(text('Another index version')),
        gates: list(
          object(
            {
              step: count(),
              atMs: time('When it was judged'),
              outcome: text('`accepted`, `refused` and the like'),
              detail: text('What was compared, and why it was refused')
            },
            ['step', 'atMs', 'outcome', 'detail']
          ),
          { description: 'Newest first' }
        ),
        checkpoints: list(
          object(
            {
              step: count('What `mtmi rollback` takes'),
              version: { type: 'boolean', description: 'Kept beyond the newest ones' },
              savedAtMs: time('When it was taken'),
              examplesLearned: count(),
              damaged: text('Why it cannot be read')
            },
            ['step', 'version', 'examplesLearned']
          ),
          { description: 'Newest first' }
        ),
        held: list(text('What waits or is held back'))
      },
      ['live', 'kept', 'gates', 'checkpoints', 'held']
    ),
    Users: object(
      {
        users: list(
          object({ userId: text(), historyLength: count('Steps of the history'), newestMs: time('Newest event') }, [
            'userId',
            'historyLength',
            'newestMs'
          ])
        ),
        order: { type: 'string', enum: ['newest', 'id'] }
      },
      ['users', 'order']
    ),
    User: object(
      {
        userId: text(),
        version: text('`indexVersion@step` of the vectors'),
        historyLength: count('Steps of the history, which may be more than are shown'),
        newestMs: time('Newest event'),
        updatedAtMs: time('When the vectors were made'),
        vectorsAgeMs: { type: 'number', minimum: 0 },
        history: list(object({ ...words, at, interest: count('The nearest one') }, ['itemId']), {
          description: 'Newest first'
        }),
        interests: list(
          object(
            {
              interest: count('0-based'),
              nearest: list(
                object({ ...words, at, score: { type: 'number', minimum: -1.001, maximum: 1.001 } }, [
                  'itemId',
                  'score'
                ])
              ),
              at,
              vector
            },
            ['interest', 'nearest']
          )
        ),
        mapShare: ratio('Share of the variance between the interests that the map shows')
      },
      ['userId', 'version', 'historyLength', 'newestMs', 'updatedAtMs', 'vectorsAgeMs', 'history', 'interests']
    ),
    Items: object(
      {
        items: list(
          object(
            {
              ...words,
              count: { type: 'number', minimum: 0, description: 'Interactions' },
              popularity: ratio(
                'Faded interactions as a share of the greatest; the list without a text is sorted by it'
              )
            },
            ['itemId', 'count']
          )
        )
      },
      ['items']
    ),
    Item: object(
      {
        itemId: text(),
        title: text(),
        features: { type: 'object', additionalProperties: list(text()) },
        count: { type: 'number', minimum: 0, description: 'Interactions' },
        updatedAtMs: time('When its vector was made'),
        vector
      },
      ['itemId', 'features', 'count', 'updatedAtMs']
    )
  }
}
