import assert from 'node:assert/strict'
import test, { after } from 'node:test'
import { type Context, type Span, type SpanOptions, type Tracer, trace } from '@opentelemetry/api'
import { startSpan } from '../../src/monitor/spans.ts'

const one = `00-${'1'.repeat(32)}-${'a'.repeat(16)}-01`
const two = `00-${'2'.repeat(32)}-${'b'.repeat(16)}-00`

after(() => trace.disable())

test('without an SDK the trace goes on as it came, and none is begun', () => {
  const span = startSpan('step', { traces: { newest: one, links: [two] } })
  assert.equal(span.traceparent, one)
  span.end()
  assert.equal(startSpan('step').traceparent, undefined)
})

test('with one, a span is a child of the newest trace, linked to the others, and its own id goes on', () => {
  const started: { name: string; options: SpanOptions; parent: string | undefined; ended: number; status: unknown }[] =
    []
  const tracer: Tracer = {
    startSpan(name: string, options: SpanOptions = {}, context?: Context): Span {
      const parent = context === undefined ? undefined : trace.getSpanContext(context)
      const record = { name, options, parent: parent?.spanId, ended: 0, status: undefined as unknown }
      started.push(record)
      const spanContext = { traceId: parent?.traceId ?? '9'.repeat(32), spanId: 'd'.repeat(16), traceFlags: 1 }
      const span: Partial<Span> = {
        spanContext: () => spanContext,
        setStatus: (status) => {
          record.status = status
          return span as Span
        },
        end: () => {
          record.ended++
        }
      }
      return span as Span
    },
    startActiveSpan: () => assert.fail('spans are ended by hand')
  }
  assert(trace.setGlobalTracerProvider({ getTracer: () => tracer }))
  const span = startSpan('mtmi publish', {
    kind: 'consumer',
    traces: { newest: one, links: [two] },
    attributes: { step: 7 },
    startMs: 5
  })
  assert.equal(span.traceparent, `00-${'1'.repeat(32)}-${'d'.repeat(16)}-01`)
  span.end(new Error('no room'))
  assert.equal(startSpan('mtmi accept').traceparent, `00-${'9'.repeat(32)}-${'d'.repeat(16)}-01`)
  const [first] = started
  assert.equal(first!.parent, 'a'.repeat(16))
  assert.deepEqual(first!.options.attributes, { step: 7 })
  assert.equal(first!.options.startTime, 5)
  assert.deepEqual(
    first!.options.links?.map(({ context }) => [context.traceId, context.spanId, context.traceFlags]),
    [['2'.repeat(32), 'b'.repeat(16), 0]]
  )
  assert.equal(first!.ended, 1)
  assert.deepEqual(first!.status, { code: 2, message: 'no room' })
})
