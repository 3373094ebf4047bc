// Foreign records for tests of the mapping.

import { resolveConfig } from '../../../src/core/config/config.ts'
import type { SourceOptions } from '../../../src/core/config/sources.ts'
import type { ForeignRecord } from '../../../src/ingest/mapping/foreignRecord.ts'

const bytes = (text: string | Uint8Array) => (typeof text === 'string' ? new TextEncoder().encode(text) : text)

/** @param extra.key as decoded; '' where there is none */
export function foreign(
  value: unknown,
  { key = '', headers = {} }: { key?: unknown; headers?: Record<string, string | Uint8Array> } = {}
): ForeignRecord {
  const encoded = Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, bytes(text)]))
  const record = {
    key: new Uint8Array(),
    value: value === undefined ? null : new Uint8Array(1),
    headers: encoded,
    partition: 3,
    offset: 2n ** 60n,
    timestampMs: 5000
  }
  return { topic: 'clicks', record, value, key: () => (key === '' ? undefined : key) }
}

/** A source as the configuration gives it. */
export function source(given: object): SourceOptions {
  return resolveConfig({ sources: [{ topic: 'clicks', format: 'json', ...given }] }, {}).sources[0]!
}
