// Which row an id has, and which id a row: exact, at about 8 + 13 bytes an id besides the id's own bytes.
//
// A Map of 10 million strings takes more than a gigabyte and is walked by every full garbage collection. Here ids are
// bytes in arenas (one for each chunk of rows, so that growth and compaction are bounded) and the way back is an
// open-addressing hash table of (row, hash) pairs with linear probing and backward-shift deletion (Knuth 6.4, algorithm
// R: no tombstones).

/** Rows of one chunk: the unit of growth, here and in the item table. */
export const chunkRows = 65_536
const chunkShift = 16
const chunkMask = chunkRows - 1
/** Rows that a new first chunk has room for; it doubles as it fills. A few ids do not take the memory of 65,536. */
const firstRows = 256

/**
 * Rows that chunk `chunk` gets room for when row `row` of it is used: only the first chunk starts small.
 *
 * @param row within the chunk
 */
export function chunkCapacity(chunk: number, row: number): number {
  return chunk > 0 ? chunkRows : Math.max(firstRows, 2 ** Math.ceil(Math.log2(row + 1)))
}

/**
 * Slots are doubled beyond this share: linear probing then still finds an id in under two and a half probes on average.
 */
const loadMax = 0.7

/** Ids whose memory is read at once: what they need fits the smallest cache. */
const readTogether = 128

export class IdDictionary {
  /** (row, hash) pairs; row 0: the slot is empty. */
  #slots = new Int32Array(2 * 1024)
  #mask = 1023
  #size = 0
  // By chunk: the ids' bytes; how many are written; how many of those are no longer anybody's; (offset, length) of each
  // row.
  readonly #bytes: Buffer[] = []
  readonly #used: number[] = []
  readonly #garbage: number[] = []
  readonly #spans: Uint32Array[] = []
  readonly #aheadRows = new Int32Array(readTogether)
  /** Kept, or nothing would have to be read. */
  readonly #read = new Float64Array(1)
  // The id last encoded.
  #scratch = new Uint8Array(256)
  #length = 0
  #hash = 0

  get size(): number {
    return this.#size
  }

  /** The id's row, or 0. */
  find(id: string): number {
    this.#encode(id)
    return this.#rowOf()
  }

  /**
   * The row of each id, or 0, as `find` gives it. What many ids need of memory is asked for together, so that the waits
   * for it overlap: a table of half a million ids is in no cache, and one by one each id waits three times.
   *
   * @param out [ids.length], overwritten
   */
  findAll(ids: readonly string[], out: Int32Array): void {
    for (let from = 0; from < ids.length; from += readTogether) {
      const to = Math.min(ids.length, from + readTogether)
      this.#readAhead(ids, from, to)
      for (let i = from; i < to; i++) out[i] = this.find(ids[i]!)
    }
  }

  /**
   * Reads what finding these ids will read: their slots, then the spans of the rows there, then the bytes. No turn of a
   * loop waits for the one before.
   */
  #readAhead(ids: readonly string[], from: number, to: number): void {
    const rows = this.#aheadRows
    const slots = this.#slots
    for (let i = from; i < to; i++) {
      this.#encode(ids[i]!)
      rows[i - from] = this.#hash & this.#mask
    }
    for (let i = 0; i < to - from; i++) rows[i] = slots[2 * rows[i]!]!
    let read = 0
    for (let i = 0; i < to - from; i++) {
      const chunk = rows[i]! >>> chunkShift
      const start = this.#spans[chunk]?.[2 * (rows[i]! & chunkMask)]
      if (start !== undefined) read += this.#bytes[chunk]![start] ?? 0
    }
    this.#read[0] = read
  }

  /** @param row above 0, without an id; @param id not empty, without a row */
  set(row: number, id: string): void {
    if (row <= 0 || id === '')
      throw new Error(`IdDictionary.set(${row}, ${JSON.stringify(id)}): a row above 0 and an id are needed`)
    this.#encode(id)
    this.#insert(row)
  }

  /** Takes the row's id away; nothing if it has none. */
  delete(row: number): void {
    const id = this.idOf(row)
    if (id === '') return
    this.#encode(id)
    const slot = this.#slotOf()
    if (this.#slots[2 * slot] === row) this.#vacate(slot)
    const chunk = row >>> chunkShift
    const span = 2 * (row & chunkMask)
    this.#garbage[chunk] = this.#garbage[chunk]! + this.#length
    this.#spans[chunk]![span] = 0
    this.#spans[chunk]![span + 1] = 0
    this.#size--
  }

  /** The row's id, or '' if it has none. */
  idOf(row: number): string {
    const spans = this.#spans[row >>> chunkShift]
    if (spans === undefined) return ''
    const span = 2 * (row & chunkMask)
    const start = spans[span] ?? 0
    const end = start + (spans[span + 1] ?? 0)
    const bytes = this.#bytes[row >>> chunkShift]!
    for (let i = start; i < end; i++) if (bytes[i]! >= 0x80) return decode(bytes, start, end)
    return bytes.toString('latin1', start, end)
  }

  /** The ids of the rows `from … to − 1`, all of one chunk: their bytes in a row, and the length of each (0: no id). */
  pack(from: number, to: number): { bytes: Uint8Array; lengths: Int32Array } {
    const lengths = Int32Array.from({ length: to - from }, (_, i) => this.lengthOf(from + i))
    const bytes = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0))
    for (let i = 0, at = 0; i < lengths.length; at += lengths[i++]!) this.copyTo(from + i, bytes, at)
    return { bytes, lengths }
  }

  /** Sets the ids of rows from `from` on, as `pack` gave them. */
  unpack(from: number, bytes: Uint8Array, lengths: Int32Array): void {
    for (let i = 0, at = 0; i < lengths.length; at += lengths[i++]!) this.assign(from + i, bytes, at, lengths[i]!)
  }

  /** Bytes of the row's id; 0 if it has none. */
  lengthOf(row: number): number {
    const spans = this.#spans[row >>> chunkShift]
    return spans?.[2 * (row & chunkMask) + 1] ?? 0
  }

  /** Writes the bytes of the row's id. */
  copyTo(row: number, out: Uint8Array, at: number): void {
    const spans = this.#spans[row >>> chunkShift]
    const span = 2 * (row & chunkMask)
    if (spans === undefined || span >= spans.length) return
    const bytes = this.#bytes[row >>> chunkShift]!
    for (let from = spans[span]!, end = from + spans[span + 1]!; from < end; ) out[at++] = bytes[from++]!
  }

  /**
   * Makes an id, as the bytes that `copyTo` wrote, the row's: whatever id the row had, and whichever row had the id. @param
   * length 0: no id
   */
  assign(row: number, bytes: Uint8Array, start: number, length: number): void {
    if (this.#holds(row, bytes, start, length)) return
    this.delete(row)
    if (length === 0) return
    this.#load(bytes, start, length)
    const holder = this.#rowOf()
    if (holder !== 0) {
      this.delete(holder)
      this.#load(bytes, start, length)
    }
    this.#insert(row)
  }

  /** Room for `count` ids at once, without growing step by step. */
  reserve(count: number): void {
    while (count / (this.#mask + 1) > loadMax) this.#grow()
  }

  /** Gives the row the id last encoded, which no row has. */
  #insert(row: number): void {
    const holder = this.#rowOf()
    if (holder !== 0) throw new Error(`IdDictionary.set: the id of row ${row} has row ${holder} already`)
    if ((this.#size + 1) / (this.#mask + 1) > loadMax) this.#grow()
    const slot = this.#slotOf()
    const chunk = row >>> chunkShift
    while (this.#bytes.length <= chunk) {
      this.#bytes.push(Buffer.alloc(0))
      this.#used.push(0)
      this.#garbage.push(0)
      this.#spans.push(new Uint32Array(0))
    }
    const span = 2 * (row & chunkMask)
    if (span >= this.#spans[chunk]!.length) {
      const spans = new Uint32Array(2 * chunkCapacity(chunk, row & chunkMask))
      spans.set(this.#spans[chunk]!)
      this.#spans[chunk] = spans
    }
    if (this.#spans[chunk]![span + 1] !== 0) throw new Error(`IdDictionary.set: row ${row} is ${this.idOf(row)}'s`)
    this.#makeRoom(chunk, this.#length)
    const offset = this.#used[chunk]!
    this.#bytes[chunk]!.set(this.#scratch.subarray(0, this.#length), offset)
    this.#used[chunk] = offset + this.#length
    this.#spans[chunk]![span] = offset
    this.#spans[chunk]![span + 1] = this.#length
    this.#slots[2 * slot] = row
    this.#slots[2 * slot + 1] = this.#hash
    this.#size++
  }

  #holds(row: number, bytes: Uint8Array, start: number, length: number): boolean {
    if (this.lengthOf(row) !== length) return false
    if (length === 0) return true
    const own = this.#bytes[row >>> chunkShift]!
    const from = this.#spans[row >>> chunkShift]![2 * (row & chunkMask)]!
    for (let i = 0; i < length; i++) if (own[from + i] !== bytes[start + i]) return false
    return true
  }

  /** The row of the id last encoded, or 0. */
  #rowOf(): number {
    return this.#slots[2 * this.#slotOf()]!
  }

  /** The slot of the id last encoded, or the empty one where it would go. */
  #slotOf(): number {
    const slots = this.#slots
    const mask = this.#mask
    const hash = this.#hash
    let slot = hash & mask
    for (;;) {
      const row = slots[2 * slot]!
      if (row === 0 || (slots[2 * slot + 1] === hash && this.#is(row))) return slot
      slot = (slot + 1) & mask
    }
  }

  /** Whether the id last encoded is the row's. */
  #is(row: number): boolean {
    const chunk = row >>> chunkShift
    const spans = this.#spans[chunk]!
    const span = 2 * (row & chunkMask)
    const length = this.#length
    if (spans[span + 1] !== length) return false
    const start = spans[span]!
    const bytes = this.#bytes[chunk]!
    const scratch = this.#scratch
    for (let i = 0; i < length; i++) if (bytes[start + i] !== scratch[i]) return false
    return true
  }

  /** Empties a slot and moves later ones of the same run back, so that every id stays reachable from its home slot. */
  #vacate(slot: number): void {
    const slots = this.#slots
    const mask = this.#mask
    let hole = slot
    for (let next = (slot + 1) & mask; slots[2 * next] !== 0; next = (next + 1) & mask) {
      const home = slots[2 * next + 1]! & mask
      // It may move back if the hole lies between its home and where it is now (cyclically).
      if (((next - home) & mask) >= ((next - hole) & mask)) {
        slots[2 * hole] = slots[2 * next]!
        slots[2 * hole + 1] = slots[2 * next + 1]!
        hole = next
      }
    }
    slots[2 * hole] = 0
    slots[2 * hole + 1] = 0
  }

  /** Doubles the slots: 51 ms of CPU at 1.5 million ids, once in as many new ones. */
  #grow(): void {
    const before = this.#slots
    this.#mask = 2 * this.#mask + 1
    this.#slots = new Int32Array(2 * (this.#mask + 1))
    for (let from = 0; from < before.length; from += 2) {
      if (before[from] === 0) continue
      let slot = before[from + 1]! & this.#mask
      while (this.#slots[2 * slot] !== 0) slot = (slot + 1) & this.#mask
      this.#slots[2 * slot] = before[from]!
      this.#slots[2 * slot + 1] = before[from + 1]!
    }
  }

  #makeRoom(chunk: number, length: number): void {
    const used = this.#used[chunk]!
    const old = this.#bytes[chunk]!
    if (used + length <= old.length) return
    // Compact while at least a fifth is garbage, else grow by a quarter: both are then paid for by what was written
    // since.
    const live = used - this.#garbage[chunk]!
    const capacity =
      this.#garbage[chunk]! * 5 >= used && live + length <= old.length
        ? old.length
        : Math.ceil((live + length) * 1.25) + 1024
    const bytes = Buffer.alloc(capacity)
    const spans = this.#spans[chunk]!
    let at = 0
    for (let span = 0; span < spans.length; span += 2) {
      const size = spans[span + 1]!
      if (size === 0) continue
      old.copy(bytes, at, spans[span]!, spans[span]! + size)
      spans[span] = at
      at += size
    }
    this.#bytes[chunk] = bytes
    this.#used[chunk] = at
    this.#garbage[chunk] = 0
  }

  /**
   * UTF-8 into the scratch bytes, and its hash (FNV-1a, then murmur3's finalizer, since FNV's low bits are weak). Lone
   * surrogates are kept (WTF-8): no two strings become one.
   */
  #encode(id: string): void {
    if (this.#scratch.length < 3 * id.length) this.#scratch = new Uint8Array(6 * id.length)
    const scratch = this.#scratch
    let hash = 0x811c9dc5
    let at = 0
    for (let i = 0; i < id.length; i++) {
      let c = id.charCodeAt(i)
      if (c >= 0x80) {
        const begin = at
        if (c < 0x800) scratch[at++] = 0xc0 | (c >> 6)
        else {
          c = id.codePointAt(i)!
          if (c >= 0x10000) {
            i++
            scratch[at++] = 0xf0 | (c >> 18)
            scratch[at++] = 0x80 | ((c >> 12) & 0x3f)
          } else scratch[at++] = 0xe0 | (c >> 12)
          scratch[at++] = 0x80 | ((c >> 6) & 0x3f)
        }
        for (let j = begin; j < at; j++) hash = Math.imul(hash ^ scratch[j]!, 0x01000193)
        c = 0x80 | (c & 0x3f)
      }
      scratch[at++] = c
      hash = Math.imul(hash ^ c, 0x01000193)
    }
    this.#hash = finalized(hash)
    this.#length = at
  }

  /** As if the id whose bytes these are had been encoded. */
  #load(bytes: Uint8Array, start: number, length: number): void {
    if (this.#scratch.length < length) this.#scratch = new Uint8Array(2 * length)
    let hash = 0x811c9dc5
    for (let i = 0; i < length; i++) {
      const byte = bytes[start + i]!
      this.#scratch[i] = byte
      hash = Math.imul(hash ^ byte, 0x01000193)
    }
    this.#hash = finalized(hash)
    this.#length = length
  }
}

function finalized(hash: number): number {
  let h = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) | 0
}

/** UTF-8 with lone surrogates, which Buffer would replace. */
function decode(bytes: Uint8Array, start: number, end: number): string {
  let text = ''
  for (let i = start; i < end; ) {
    const c = bytes[i++]!
    if (c < 0x80) text += String.fromCharCode(c)
    else if (c < 0xe0) text += String.fromCharCode(((c & 0x1f) << 6) | (bytes[i++]! & 0x3f))
    else if (c < 0xf0)
      text += String.fromCharCode(((c & 0x0f) << 12) | ((bytes[i++]! & 0x3f) << 6) | (bytes[i++]! & 0x3f))
    else
      text += String.fromCodePoint(
        ((c & 0x07) << 18) | ((bytes[i++]! & 0x3f) << 12) | ((bytes[i++]! & 0x3f) << 6) | (bytes[i++]! & 0x3f)
      )
  }
  return text
}
