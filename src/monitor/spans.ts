// Spans through OpenTelemetry's API. To see them, load an SDK of your choice before the program
// (NODE_OPTIONS=--require=./tracing.cjs: that reaches every thread); without one the API does nothing, and trace ids
// still travel from header to header.

import {
  type Context,
  isSpanContextValid,
  ROOT_CONTEXT,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace
} from '@opentelemetry/api'
import type { Traceparent, Traces } from '../records/traceContext.ts'

/** Attributes have names of ours, low in number; never an id of a user. */
type Attributes = Readonly<Record<string, string | number>>

interface StartedSpan {
  /** For the records that come of it; undefined: neither was there a trace, nor does an SDK begin one. */
  readonly traceparent: Traceparent | undefined
  end(error?: Error): void
}

export interface SpanOptions {
  readonly kind?: 'server' | 'consumer' | 'producer'
  readonly traces?: Traces | undefined
  readonly attributes?: Attributes
  /** When it began, milliseconds; default: now. */
  readonly startMs?: number
}

const kinds = { server: SpanKind.SERVER, consumer: SpanKind.CONSUMER, producer: SpanKind.PRODUCER } as const

/** A child of the newest trace, linked to the others. */
export function startSpan(name: string, { kind, traces, attributes, startMs }: SpanOptions = {}): StartedSpan {
  const links = (traces?.links ?? []).map((link) => ({ context: contextOf(link) }))
  const span = trace.getTracer('mtmi-stream').startSpan(
    name,
    {
      ...(kind === undefined ? {} : { kind: kinds[kind] }),
      ...(attributes === undefined ? {} : { attributes: { ...attributes } }),
      ...(startMs === undefined ? {} : { startTime: startMs }),
      links
    },
    parentOf(traces?.newest)
  )
  const context = span.spanContext()
  return {
    traceparent: isSpanContextValid(context) ? textOf(context) : undefined,
    end(error) {
      if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: error.message })
      span.end()
    }
  }
}

function parentOf(traceparent: Traceparent | undefined): Context {
  return traceparent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, contextOf(traceparent))
}

function contextOf(traceparent: Traceparent): SpanContext {
  const [, traceId, spanId, flags] = traceparent.split('-') as [string, string, string, string]
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true }
}

function textOf({ traceId, spanId, traceFlags }: SpanContext): Traceparent {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`
}
