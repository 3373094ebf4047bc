// Spans of the stages within the traces of events; none unless `trace.enabled`.

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
  /** Headers of the records that the step produces, to continue the trace; empty where there is none. */
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

/** The traces of the records that a step processes, oldest record first. */
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

/** A step that may begin a trace, such as a request. */
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

/** A step that processes events: no span where they have no trace. */
export function goOnTracing(config: Pick<Config, 'trace'>, name: string, options: SpanOptions): TracedStep {
  return options.traces === undefined ? untraced : beginTrace(config, name, options)
}
