// What bytes that are not JSON look like: the message then names the cause.

/** First bytes, in hexadecimal, of what producers send instead of text. */
const binary: readonly (readonly [start: string, what: string])[] = [
  ['1f8b', 'gzip: compress with compression.type of the producer, not the value itself'],
  ['28b52ffd', 'zstd: compress with compression.type of the producer, not the value itself'],
  ['04224d18', 'LZ4: compress with compression.type of the producer, not the value itself'],
  ['789c', 'zlib: compress with compression.type of the producer, not the value itself'],
  ['fffe', 'UTF-16: JSON is sent as UTF-8'],
  ['feff', 'UTF-16: JSON is sent as UTF-8'],
  ['4f626a01', 'an Avro container file: send each record on its own'],
  ['c301', 'Avro in single-object encoding'],
  ['aced0005', 'a serialized Java object: use a JSON serializer']
]

/** Of bytes that are not UTF-8, or not JSON: what they look like, as `; it looks like …`, or nothing. */
export function looksLike(bytes: Uint8Array, text?: string): string {
  const what = ofBytes(bytes) ?? (text === undefined ? 'Latin-1, or another encoding than UTF-8' : ofText(text))
  return what === undefined ? '' : `; it looks like ${what}`
}

function ofBytes(bytes: Uint8Array): string | undefined {
  const start = Buffer.from(bytes.subarray(0, 5)).toString('hex')
  if (start.startsWith('00') && bytes.length >= 5)
    return `a record framed by a schema registry (schema id ${Number.parseInt(start.slice(2), 16)}): format avro-registry`
  const found = binary.find(([magic]) => start.startsWith(magic))
  if (found !== undefined) return found[1]
  // Protobuf and MessagePack have no mark of their own; control characters are in neither JSON nor Latin-1.
  return bytes.some((byte) => byte < 9) ? 'a binary format, such as Avro, Protobuf or MessagePack' : undefined
}

function ofText(text: string): string | undefined {
  if (text.trim() === '') return 'an empty value: a tombstone is null, not empty'
  const outside = text.replace(/"(?:[^"\\]|\\.)*"/g, '""')
  if (/\bNaN\b|\bInfinity\b/.test(outside)) return 'JSON with NaN or Infinity, which JSON has not: send null'
  if (/[{,]\s*u?'|\b(?:True|False|None)\b/.test(outside)) return 'a Python literal: send json.dumps(…)'
  const lines = text.trim().split(/\r?\n/)
  if (lines.length > 1 && lines.every((line) => /^\s*\{.*\}\s*$/.test(line)))
    return 'several JSON documents: send one a record, or a list of them and paths that begin with [*]'
  if (/^\s*[{["]/.test(text)) return undefined
  if (text.includes('\t')) return 'text delimited by tabs: format tsv'
  return text.includes(',') ? 'text delimited by commas: format csv' : undefined
}
