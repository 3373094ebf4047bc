// How the large state of a part travels into a checkpoint and back: typed arrays by name, and nothing else.

import { CorruptError } from './errors.ts'

export type NamedArray = Float32Array | Float64Array | Int32Array | Uint8Array
/** What `state()` gives and `restore()` takes: a part of a checkpoint. */
export type NamedArrays = ReadonlyMap<string, NamedArray>

type Kind<T extends NamedArray> = { new (length: number): T; readonly name: string }

/**
 * The array of that name.
 *
 * @param length expected number of elements, where it is known
 * @throws CorruptError if it is missing, of another type or of another length
 */
export function namedArray<T extends NamedArray>(arrays: NamedArrays, name: string, kind: Kind<T>, length?: number): T {
  const array = arrays.get(name)
  if (!(array instanceof kind)) {
    throw new CorruptError(
      `state: expected a ${kind.name} named ${name}, found ${array?.constructor.name ?? 'nothing'}`
    )
  }
  if (length !== undefined && array.length !== length) {
    throw new CorruptError(`state: ${name} has ${array.length} elements where ${length} were expected`)
  }
  return array
}

/** The arrays whose names begin with `prefix`, without it. */
export function withoutPrefix(prefix: string, arrays: NamedArrays): Map<string, NamedArray> {
  return new Map(
    [...arrays].filter(([name]) => name.startsWith(prefix)).map(([name, array]) => [name.slice(prefix.length), array])
  )
}

/**
 * Texts as one blob and their lengths in bytes; lone surrogates are kept (UTF-16). For small lists only: not compact.
 */
export function packTexts(texts: readonly string[]): { bytes: Uint8Array; lengths: Int32Array } {
  const parts = texts.map((text) => Buffer.from(text, 'utf16le'))
  return { bytes: new Uint8Array(Buffer.concat(parts)), lengths: Int32Array.from(parts, (part) => part.length) }
}

/** @throws CorruptError if the lengths do not add up to the blob */
export function unpackTexts(bytes: Uint8Array, lengths: Int32Array): string[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  let at = 0
  const texts = Array.from(lengths, (length) => {
    const text = buffer.toString('utf16le', at, at + length)
    at += length
    return text
  })
  if (at !== bytes.length) throw new CorruptError(`state: texts of ${at} bytes in a blob of ${bytes.length}`)
  return texts
}
