// Which trace an event belongs to: W3C's `traceparent` as a header of the records that come of the event. Never part of
// what is folded: histories, schemas and offsets are the same with it and without.

/** `00-<trace id: 32 hex digits>-<span id: 16>-<flags: 2>`, checked by `readTraceparent`. */
export type Traceparent = string

export const traceHeader = 'traceparent'
/** The other events that a record answers, separated by commas. */
const linkHeader = 'mtmi.traces'
/** Links of one record: a burst of clicks answered at once; beyond, the oldest are left out. */
export const linksMax = 16

/** The traces that a record answers. */
export interface Traces {
  /** Of the newest event. */
  readonly newest: Traceparent
  /** Of the others, newest first, each once. */
  readonly links: readonly Traceparent[]
}

const form = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
const text = new TextEncoder()
const untext = new TextDecoder()

/**
 * As W3C Trace Context has it: version ff, ids of zeros, and more fields than version 00 has, are none. @returns in the
 * form of version 00
 */
export function readTraceparent(value: string | undefined): Traceparent | undefined {
  const [, version, trace, span, flags, more] = form.exec(value?.trim() ?? '') ?? []
  if (version === undefined || version === 'ff' || (version === '00' && more !== undefined)) return undefined
  return /^0+$/.test(trace!) || /^0+$/.test(span!) ? undefined : `00-${trace}-${span}-${flags}`
}

/** 32 hex digits. */
export const traceIdOf = (traceparent: Traceparent): string => traceparent.slice(3, 35)

/**
 * undefined: the record belongs to no trace. What does not look like one is none: a header of others never fails a
 * record.
 */
export function tracesOf(headers: Readonly<Record<string, Uint8Array>>): Traces | undefined {
  const [header, others] = [headers[traceHeader], headers[linkHeader]]
  const newest = header === undefined ? undefined : readTraceparent(untext.decode(header))
  if (newest === undefined) return undefined
  const links = others === undefined ? [] : untext.decode(others).split(',').slice(0, linksMax)
  return { newest, links: links.map(readTraceparent).filter((each) => each !== undefined) }
}

export function traceHeaders({ newest, links }: Traces): Record<string, Uint8Array> {
  return {
    [traceHeader]: text.encode(newest),
    ...(links.length === 0 ? {} : { [linkHeader]: text.encode(links.join(',')) })
  }
}

/** Of several events, oldest first. undefined: none of them has one. */
export function mergeTraces(all: readonly Traces[]): Traces | undefined {
  const newest = all.at(-1)?.newest
  if (newest === undefined) return undefined
  const each = new Set([...all].reverse().flatMap((one) => [one.newest, ...one.links]))
  each.delete(newest)
  return { newest, links: [...each].slice(0, linksMax) }
}
