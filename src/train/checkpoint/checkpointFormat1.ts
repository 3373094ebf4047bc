// Checkpoints of the first releases, which held each table as a few large arrays: read as those of today, never written.

import { CorruptError } from '../../core/errors.ts'
import { chunkRows } from '../../core/idDictionary.ts'
import { type NamedArray, type NamedArrays, namedArray, withoutPrefix } from '../../core/namedArrays.ts'
import type { Checkpoint, CheckpointPart } from '../../model/replica/checkpoint.ts'

/** @param arrays by `<part>/<name>` @throws CorruptError if some are missing or do not fit */
export function checkpointOfFormat1(header: Checkpoint['header'], arrays: NamedArrays): Checkpoint {
  const names = new Set(Array.from(arrays.keys(), (name) => name.slice(0, name.indexOf('/'))))
  const parts = [...names].flatMap((name): CheckpointPart[] => {
    const ofPart = withoutPrefix(`${name}/`, arrays)
    if (name === 'items' || name === 'features') return tableParts(ofPart).map((arrays) => ({ name, arrays }))
    if (name === 'reservoir') return reservoirParts(ofPart).map((arrays) => ({ name, arrays }))
    return [{ name, arrays: name === 'sampler' ? samplerPart(ofPart) : ofPart }]
  })
  return { header: header.formatVersion === 1 ? { ...header, formatVersion: 2 } : header, parts }
}

function tableParts(arrays: NamedArrays): NamedArrays[] {
  const [dimensions, rows, size, seed, oldestMs, chunks] = namedArray(arrays, 'meta', Float64Array, 6)
  const small = new Map([...arrays].filter(([name]) => !/\.\d+$/.test(name) && name !== 'admitted'))
  small.set('meta', Float64Array.of(dimensions!, rows!, size!, seed!, oldestMs!))
  const places = new Int32Array(rows!).fill(-1)
  for (const [place, row] of namedArray(arrays, 'admitted', Int32Array, size).entries()) {
    if (!(row > 0 && row < rows!)) throw new CorruptError(`state: admitted row ${row} of ${rows}`)
    places[row] = place
  }
  const parts: NamedArrays[] = [small]
  for (let index = 0; index < chunks!; index++) {
    const first = index * chunkRows
    const used = Math.min(chunkRows, rows! - first)
    const column = (name: string) => arrays.get(`${name}.${index}`) ?? new Uint8Array(0)
    parts.push(
      new Map<string, NamedArray>([
        ['rows', Int32Array.from({ length: used }, (_, i) => first + i)],
        ['places', places.subarray(first, first + used)],
        ...['values', 'accumulators', 'counts', 'lastSeenMs', 'generations', 'ids', 'idLengths'].map((name): [string, NamedArray] => [
          name,
          column(name)
        ])
      ])
    )
  }
  return parts
}

/** Recent examples first, then the sample of older ones; without empty slots. */
function reservoirParts(arrays: NamedArrays): NamedArrays[] {
  const [recent, sample, offered] = namedArray(arrays, 'meta', Float64Array, 3)
  const examples = recent! + sample!
  const slots = Int32Array.from({ length: examples }, (_, slot) => slot)
  const lengths = namedArray(arrays, 'lengths', Int32Array, examples)
  const small = new Map<string, NamedArray>([
    // How long histories could be is not known: as long as the longest.
    [
      'meta',
      Float64Array.of(
        examples,
        offered!,
        lengths.reduce((longest, length) => Math.max(longest, length), 0)
      )
    ],
    ['recent', slots.slice(0, recent)],
    ['sample', slots.slice(recent)],
    ['free', new Int32Array(0)],
    ...[...arrays].filter(([name]) => name === 'rng' || name.startsWith('typeName'))
  ])
  const kept = ['lengths', 'rows', 'generations', 'timesMs', 'types', 'weights', 'partitions', 'offsets', 'users', 'userLengths']
  return [small, new Map<string, NamedArray>([['slots', slots], ...[...arrays].filter(([name]) => kept.includes(name))])]
}

function samplerPart(arrays: NamedArrays): NamedArrays {
  const ring = namedArray(arrays, 'ring', Int32Array)
  const [next, filled] = namedArray(arrays, 'where', Int32Array, 2)
  return new Map<string, NamedArray>([
    ['ring', ring.subarray(0, filled)],
    ['generations', namedArray(arrays, 'generations', Int32Array, ring.length).subarray(0, filled)],
    ['where', Int32Array.of(next!, filled!, ring.length)]
  ])
}
