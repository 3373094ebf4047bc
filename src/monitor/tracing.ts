// How a stage takes part in the traces of events: nothing at all unless `trace.enabled`.

import type { Config } from '../core/config/config.ts'
import {
  mergeTraces,
  readTraceparent,
  type Traceparent,
  type Traces,
  traceHeaders,
  traceIdOf,
  tracesOf
} from '../records/traceContext.ts'
import { type SpanOptions, startSpan } from './spans.ts'

type Headers = Readonly<Record<string, Uint8Array>>

export interface TracedStep {
  /** For the records that come of the step: the trace goes on with its span; empty where there is none. */
  readonly carried: { readonly headers?: Headers }
  /** For a line of the log. */
  readonly fields: { readonly traceId?: string; readonly linkedTraceIds?: readonly string[] }
  end(error?: Error): void
}

const untraced: TracedStep = { carried: {}, fields: {}, end: () => {} }

export const tracesFrom = (traceparent: string | undefined): Traces | undefined => {
  const newest = readTraceparent(traceparent)
  return newest === undefined ? undefined : { newest, links: [] }
}

/** The traces of the records that a step works off, oldest record first. */
export function tracesOfAll(
  { trace }: Pick<Config, 'trace'>,
  records: Iterable<{ readonly headers: Headers }>
): Traces | undefined {
  if (!trace.enabled) return undefined
  const all: Traces[] = []
  for (const { headers } of records) {
    const traces = tracesOf(headers)
    if (traces !== undefined) all.push(traces)
  }
  return mergeTraces(all)
}

/** Of a step that may be the first of its trace, as a request is. */
export function beginTrace({ trace }: Pick<Config, 'trace'>, name: string, options: SpanOptions): TracedStep {
  if (!trace.enabled) return untraced
  const { traceparent, end } = startSpan(name, options)
  if (traceparent === undefined) return { ...untraced, end }
  const links: readonly Traceparent[] = options.traces?.links ?? []
  return {
    carried: { headers: traceHeaders({ newest: traceparent, links }) },
    fields: {
      traceId: traceIdOf(traceparent),
      ...(links.length === 0 ? {} : { linkedTraceIds: links.map(traceIdOf) })
    },
    end
  }
}

/** Of a step that is made for events: without a trace of theirs there is nothing to tell. */
export function goOnTracing(config: Pick<Config, 'trace'>, name: string, options: SpanOptions): TracedStep {
  return options.traces === undefined ? untraced : beginTrace(config, name, options)
}
