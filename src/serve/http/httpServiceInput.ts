// What comes in by HTTP, checked: every problem is named, with the value given and what is expected.

import { own, setOwn } from '../../core/own.ts'
import type { EncoderStep } from '../../model/encoder.ts'
import { futureProblem, idBytesMax, idProblem, interactionProblem } from '../../records/admission.ts'
import type { Interaction, ItemId } from '../../records/interaction.ts'
import type { FeatureFilter, ListRequest } from '../recommender.ts'
import { ProblemError, shown } from './problem.ts'

/** Events in one request: with 200 bytes each a fifth of the default body limit. */
export const eventsMax = 1000
/** Steps of a history given in a request: the longest window that can be configured. */
export const historyStepsMax = 1000
/** Largest `limit` of a request. */
export const limitMax = 200
export const limitDefault = 10
/** Problems named in one answer: beyond that a caller has one mistake, many times. */
const problemsMax = 100

/** Items that one request may leave out by name: more than a basket holds. */
export const excludeMax = 200
const fieldLengthMax = 256

/** Facts of a context: more than can be counted by. */
export const contextMax = 8

/**
 * What can be said of a list, by name. `exclude` may be given more than once, `filter` is `filter.<field>`, and
 * `context` is `context.<field>`.
 */
const listWords = [
  'limit',
  'explain',
  'filter',
  'context',
  'exclude',
  'quota',
  'diversity',
  'diversityBy',
  'repeats'
] as const
type ListWord = (typeof listWords)[number]

/** @throws ProblemError 400 with all problems, as far as the route `knows` the parameters */
export function listQuery(query: unknown, limitMax: number, knows: readonly ListWord[] = listWords): ListRequest {
  const values: Partial<Record<ListWord, unknown>> = {}
  const byField = { filter: [] as [string, string][], context: [] as [string, string][] }
  const problems: string[] = []
  for (const [name, value] of Object.entries(query as Record<string, unknown>)) {
    const [, fielded] = /^(filter|context)\../s.exec(name) ?? []
    const word =
      (fielded as 'filter' | 'context' | undefined) ?? listWords.find((one) => one === name && !isFielded(one))
    if (word === undefined || !knows.includes(word)) {
      const known = knows.map((one) => (isFielded(one) ? `${one}.<field>` : one))
      problems.push(`there is no parameter ${shown(name)}; known are ${known.join(', ')}`)
    } else if (word === 'exclude') values.exclude = [value].flat()
    else if (typeof value !== 'string') problems.push(`${name} is given more than once; give it once`)
    else if (isFielded(word)) byField[word].push([name.slice(word.length + 1), value])
    else if (word === 'explain' || word === 'repeats')
      values[word] = ['true', '1', ''].includes(value) ? true : ['false', '0'].includes(value) ? false : value
    else if (word === 'limit') values.limit = /^\d{1,9}$/.test(value) ? Number(value) : value
    else values[word] = word !== 'diversityBy' && /^\d*\.?\d+$/.test(value) ? Number(value) : value
  }
  const { filter, context } = byField
  const list = listRequest(
    { ...values, filter: Object.fromEntries(filter), context: Object.fromEntries(context) },
    limitMax,
    problems
  )
  refuse(problems)
  return list
}

function isFielded(word: ListWord): word is 'filter' | 'context' {
  return word === 'filter' || word === 'context'
}

/** The same from values of JSON. What is wrong is added to `problems`. */
function listRequest(values: Partial<Record<ListWord, unknown>>, limitMax: number, problems: string[]): ListRequest {
  const { limit = Math.min(limitDefault, limitMax), filter = {}, context = {}, exclude = [], diversityBy } = values
  const limitWrong = limitProblem(limit, limitMax)
  if (limitWrong !== undefined) problems.push(limitWrong)
  if (!isTexts(filter)) problems.push(`filter must be an object of texts, got ${shown(filter)}`)
  const facts = isTexts(context) && Object.keys(context).length <= contextMax ? context : undefined
  if (facts === undefined)
    problems.push(`context must be an object of at most ${contextMax} texts, got ${shown(context)}`)
  for (const name of ['explain', 'repeats'] as const) {
    if (values[name] !== undefined && typeof values[name] !== 'boolean')
      problems.push(`${name} must be true or false, got ${shown(values[name])}`)
  }
  for (const name of ['quota', 'diversity'] as const) {
    const value = values[name]
    if (value !== undefined && !(typeof value === 'number' && value >= 0 && value <= 1))
      problems.push(`${name} must be a number of 0…1, got ${shown(value)}`)
  }
  if (diversityBy !== undefined && !(typeof diversityBy === 'string' && diversityBy.length <= fieldLengthMax))
    problems.push(
      `diversityBy must be the name of a field of at most ${fieldLengthMax} characters, got ${shown(diversityBy)}`
    )
  const isItem = (id: unknown) => idProblem('item', id) === undefined
  if (!Array.isArray(exclude) || exclude.length > excludeMax || !exclude.every(isItem))
    problems.push(
      `exclude must be at most ${excludeMax} item ids, got ${Array.isArray(exclude) && exclude.length > excludeMax ? exclude.length : shown(exclude)}`
    )
  const { explain, quota, diversity, repeats } = values
  return {
    ...{
      limit: limit as number,
      filter: filter as FeatureFilter,
      exclude: exclude as ItemId[],
      explain: explain === true
    },
    ...(facts === undefined || Object.keys(facts).length === 0 ? {} : { context: facts }),
    ...(quota === undefined ? {} : { quotaShare: quota as number }),
    ...(diversity === undefined ? {} : { diversity: diversity as number }),
    ...(diversityBy === undefined ? {} : { diversityBy: diversityBy as string }),
    ...(repeats === undefined ? {} : { repeats: repeats as boolean })
  }
}

export interface QueryWords<T extends string, F extends string, N extends string> {
  readonly texts?: readonly T[]
  readonly flags?: readonly F[]
  /** Whole numbers from 1 on, by name. */
  readonly numbers?: Readonly<Record<N, { readonly default: number; readonly max: number }>>
}

/**
 * A query string of plain texts (absent: empty), flags (absent: false) and numbers. @throws ProblemError 400 with all
 * problems
 */
export function plainQuery<T extends string = never, F extends string = never, N extends string = never>(
  query: unknown,
  { texts = [], flags = [], numbers = {} as NonNullable<QueryWords<T, F, N>['numbers']> }: QueryWords<T, F, N>
): Record<T, string> & Record<F, boolean> & Record<N, number> {
  const limits = Object.entries(numbers) as [N, { default: number; max: number }][]
  const known: readonly string[] = [...limits.map(([name]) => name), ...texts, ...flags]
  const problems: string[] = []
  const found: Record<string, string | boolean | number> = Object.fromEntries<string | boolean | number>([
    ...texts.map((name) => [name, ''] as const),
    ...flags.map((name) => [name, false] as const),
    ...limits.map(([name, { default: value, max }]) => [name, Math.min(value, max)] as const)
  ])
  for (const [name, value] of Object.entries(query as Record<string, unknown>)) {
    if (!known.includes(name))
      problems.push(`there is no parameter ${shown(name)}; known are ${known.join(', ') || 'none'}`)
    else if (typeof value !== 'string') problems.push(`${name} is given more than once; give it once`)
    else if ((texts as readonly string[]).includes(name)) {
      if (value.length > idBytesMax)
        problems.push(`${name} must have at most ${idBytesMax} characters, got ${value.length}`)
      setOwn(found, name, value)
    } else if ((flags as readonly string[]).includes(name)) {
      if (!['true', '1', '', 'false', '0'].includes(value))
        problems.push(`${name} must be true or false, got ${shown(value)}`)
      setOwn(found, name, ['true', '1', ''].includes(value))
    } else {
      const problem = limitProblem(/^\d{1,9}$/.test(value) ? Number(value) : value, numbers[name as N].max, name)
      if (problem === undefined) setOwn(found, name, Number(value))
      else problems.push(problem)
    }
  }
  refuse(problems)
  return found as Record<T, string> & Record<F, boolean> & Record<N, number>
}

/** An id of the path. @throws ProblemError 400 */
export function pathId(id: string): string {
  const problem = idProblem('the id in the path', id)
  if (problem !== undefined) throw new ProblemError(400, problem)
  return id
}

export interface EventDefaults {
  readonly nowMs: number
  readonly futureMaxMs: number
  newEventId(): string
}

/** One event, or a list of them: all of them, or a list of what is wrong. @throws ProblemError 400 */
export function postedEvents(body: unknown, defaults: EventDefaults): Interaction[] {
  const list = Array.isArray(body) ? (body as readonly unknown[]) : [body]
  if (Array.isArray(body) && (list.length === 0 || list.length > eventsMax)) {
    throw new ProblemError(400, `a list must have 1…${eventsMax} events, got ${list.length}`)
  }
  const problems: string[] = []
  const interactions: Interaction[] = []
  for (const [i, event] of list.entries()) {
    const at = Array.isArray(body) ? `[${i}]` : ''
    const found = eventProblems(event, at)
    if (found.length === 0) {
      const interaction = interactionOf(event as PostedEvent, defaults)
      const problem =
        interactionProblem(interaction) ?? futureProblem(interaction, defaults.nowMs, defaults.futureMaxMs)
      if (problem === undefined) {
        interactions.push(interaction)
        continue
      }
      found.push(`${at === '' ? '' : `${at}: `}${problem}`)
    }
    problems.push(...found)
  }
  refuse(problems)
  return interactions
}

interface PostedEvent {
  readonly userId: string
  readonly itemId: string
  readonly type: string
  readonly eventId?: string | null
  readonly eventTime?: string | number | null
  readonly value?: number | null
  readonly context?: Readonly<Record<string, string>> | null
}

const eventFields = ['userId', 'itemId', 'type', 'eventId', 'eventTime', 'value', 'context']

function eventProblems(event: unknown, at: string): string[] {
  if (!isObject(event)) return [`${at || 'the body'} must be an event, got ${shown(event)}`]
  const path = (field: string) => (at === '' ? field : `${at}.${field}`)
  const problems: string[] = []
  const { eventId, eventTime, value, context } = event
  for (const field of ['userId', 'itemId', 'type']) {
    const id = own(event, field)
    if (typeof id !== 'string' || id === '')
      problems.push(`${path(field)} must be text that is not empty, got ${shown(id)}`)
  }
  if (eventId != null && (typeof eventId !== 'string' || eventId === '')) {
    problems.push(`${path('eventId')} must be text that is not empty, or absent, got ${shown(eventId)}`)
  }
  if (eventTime != null && eventTimeMs(eventTime) === undefined)
    problems.push(eventTimeProblem(path('eventTime'), eventTime))
  if (value != null && typeof value !== 'number')
    problems.push(`${path('value')} must be a number, got ${shown(value)}`)
  if (context != null && !isTexts(context)) {
    problems.push(`${path('context')} must be an object of texts, got ${shown(context)}`)
  }
  for (const field of Object.keys(event)) {
    if (!eventFields.includes(field))
      problems.push(
        `${at === '' ? '' : `${at}: `}there is no field ${shown(field)}; known are ${eventFields.join(', ')}`
      )
  }
  return problems
}

function interactionOf(event: PostedEvent, { nowMs, newEventId }: EventDefaults): Interaction {
  const { userId, itemId, type, eventId, eventTime, value, context } = event
  return {
    eventId: eventId ?? newEventId(),
    userId,
    itemId,
    type,
    eventTimeMs: eventTime == null ? nowMs : eventTimeMs(eventTime)!,
    ...(value == null ? {} : { value }),
    ...(context == null ? {} : { context })
  }
}

export interface PostedHistory {
  /** Oldest first. */
  readonly history: readonly EncoderStep[]
  readonly list: ListRequest
}

/**
 * The body of `POST /v1/recommendations`. Steps without a time count as one second apart, the last of them now. @throws
 * ProblemError 400
 */
export function postedHistory(body: unknown, limitMax: number, nowMs: number): PostedHistory {
  if (!isObject(body)) throw new ProblemError(400, `the body must be an object with a history, got ${shown(body)}`)
  const problems: string[] = []
  const known = ['history', ...listWords]
  for (const field of Object.keys(body))
    if (!known.includes(field)) problems.push(`there is no field ${shown(field)}; known are ${known.join(', ')}`)
  const { history, ...values } = body
  const list = listRequest(values, limitMax, problems)
  const steps: EncoderStep[] = []
  if (!Array.isArray(history) || history.length === 0 || history.length > historyStepsMax) {
    problems.push(
      `history must be a list of 1…${historyStepsMax} steps, got ${Array.isArray(history) ? history.length : shown(history)}`
    )
  } else {
    for (const [i, step] of (history as readonly unknown[]).entries()) {
      const { itemId, eventTime, ...unknown } = (isObject(step) ? step : { itemId: step }) as {
        itemId?: unknown
        eventTime?: unknown
      }
      const timeMs = eventTime == null ? nowMs - (history.length - 1 - i) * 1000 : eventTimeMs(eventTime)
      for (const field of Object.keys(unknown))
        problems.push(`history[${i}]: there is no field ${shown(field)}; known are itemId, eventTime`)
      if (idProblem('itemId', itemId) !== undefined) {
        problems.push(
          `history[${i}] must be an item id, or an object with itemId and perhaps eventTime, got ${shown(step)}`
        )
      } else if (timeMs === undefined) problems.push(eventTimeProblem(`history[${i}].eventTime`, eventTime))
      else steps.push({ itemId: itemId as ItemId, eventTimeMs: timeMs })
    }
  }
  refuse(problems)
  steps.sort((a, b) => a.eventTimeMs - b.eventTimeMs)
  return { history: steps, list }
}

function limitProblem(limit: unknown, limitMax: number, name = 'limit'): string | undefined {
  if (typeof limit === 'number' && Number.isInteger(limit) && limit >= 1 && limit <= limitMax) return undefined
  return `${name} must be 1…${limitMax}, got ${shown(limit)}`
}

/** Whole milliseconds, or ISO 8601 with a zone: a time without one would mean another moment on another machine. */
function eventTimeMs(time: unknown): number | undefined {
  if (typeof time === 'number') return Number.isSafeInteger(time) && time >= 0 ? time : undefined
  if (typeof time !== 'string' || !/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d:?\d\d)$/.test(time))
    return undefined
  const timeMs = Math.floor(Date.parse(time.replace(',', '.').replace(/([+-]\d\d)(\d\d)$/, '$1:$2')))
  return timeMs >= 0 ? timeMs : undefined
}

function eventTimeProblem(path: string, time: unknown): string {
  return `${path} must be ISO 8601 with Z or an offset, or whole milliseconds since 1970, got ${shown(time)}`
}

function refuse(problems: readonly string[]): void {
  if (problems.length === 0) return
  const detail = problems.length === 1 ? problems[0]! : `${problems.length} problems; the first: ${problems[0]!}`
  throw new ProblemError(400, detail, { problems: problems.slice(0, problemsMax) })
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isTexts(value: unknown): value is Record<string, string> {
  return isObject(value) && Object.values(value).every((text) => typeof text === 'string')
}
