// The memory of one index version, the other way round: for each item of a history, the rows of the items that it speaks
// for. Votes are added up by reading the lists of those that vote.
//
// An entry takes 8 bytes, and a list of entries has room for up to twice as many: 8 to 16 bytes a neighbour, 0.5 to
// 1 KB an item with 64 neighbours. Beside them an item that speaks for others takes some 100 bytes with its id, and a
// row 12. Entries name a list by number, not its row: an item that gets another list, or another row, leaves its old
// entries where they are. Such entries are dropped where they are met.

import type { ItemId } from '../../records/interaction.ts'
import type { Neighbours, Votes } from '../memory.ts'

/** Room for 4 entries at least. */
const leastRoom = 2
/** Numbers of lists in use are given again, from the first, when there are this many more of them than twice the rows. */
const spareLists = 4096

export class MemoryPostings {
  /** Who speaks → place in the arrays below. */
  readonly #speakers = new Map<ItemId, number>()
  #starts = new Uint32Array(1024)
  #lengths = new Uint32Array(1024)
  /** Room for 2^value entries; 0: none yet. */
  #rooms = new Uint8Array(1024)
  /** Entries: the list, and S. */
  #lists = new Uint32Array(4096)
  #weights = new Float32Array(4096)
  #end = 0
  /** Starts of room that was left, by its size. */
  #free: number[][] = []
  /** −1: replaced by another list. */
  #rowOf = new Int32Array(1024)
  /** −1: none. */
  #listOf = new Int32Array(1024).fill(-1)
  #nextList = 0
  #held = 0
  #sums = new Float64Array(1024)
  #found = new Int32Array(1024)
  #foundCount = 0

  /** Rows with a list. */
  get size(): number {
    return this.#held
  }

  /** Bytes held, ids left out. */
  get bytes(): number {
    return [
      ...[this.#starts, this.#lengths, this.#rooms, this.#lists, this.#weights],
      ...[this.#rowOf, this.#listOf, this.#sums, this.#found]
    ].reduce((sum, { byteLength }) => sum + byteLength, 0)
  }

  /** Replaces the row's list. */
  set(row: number, memory: Neighbours | undefined): void {
    this.remove(row)
    if (memory === undefined || memory.neighbours.length === 0) return
    if (this.#nextList > 2 * this.#held + spareLists) this.#rebuild()
    const list = this.#nextList++
    if (list >= this.#rowOf.length) this.#rowOf = longer(this.#rowOf)
    this.#rowOf[list] = row
    this.#name(row, list)
    this.#held++
    for (const [i, item] of memory.neighbours.entries()) this.#push(this.#speaker(item), list, memory.weights[i]!)
  }

  remove(row: number): void {
    const list = this.#listOf[row] ?? -1
    if (list < 0) return
    this.#rowOf[list] = -1
    this.#listOf[row] = -1
    this.#held--
  }

  /** `to` has no list. */
  move(from: number, to: number): void {
    const list = this.#listOf[from] ?? -1
    if (list < 0) return
    this.#listOf[from] = -1
    this.#name(to, list)
    this.#rowOf[list] = to
  }

  /**
   * Adds up the votes.
   *
   * @param rows in all
   * @returns rows that got any, each once, in no order: until the next call
   */
  count(votes: Votes, rows: number): Int32Array {
    for (let i = 0; i < this.#foundCount; i++) this.#sums[this.#found[i]!] = 0
    this.#foundCount = 0
    while (this.#sums.length < rows) {
      this.#sums = longer(this.#sums)
      this.#found = longer(this.#found)
    }
    for (const [age, item] of votes.items.entries()) {
      const speaker = this.#speakers.get(item)
      if (speaker !== undefined) this.#countOne(speaker, votes.weights[age]!)
    }
    return this.#found.subarray(0, this.#foundCount)
  }

  /** The row's votes as last counted. */
  sum(row: number): number {
    return this.#sums[row] ?? 0
  }

  #countOne(speaker: number, vote: number): void {
    const start = this.#starts[speaker]!
    const end = start + this.#lengths[speaker]!
    const [lists, weights, rowOf, sums, found] = [this.#lists, this.#weights, this.#rowOf, this.#sums, this.#found]
    let gone = 0
    for (let at = start; at < end; at++) {
      const row = rowOf[lists[at]!]!
      if (row < 0) {
        gone++
        continue
      }
      if (sums[row] === 0) found[this.#foundCount++] = row
      sums[row]! += vote * weights[at]!
    }
    if (gone > 0) this.#dropReplaced(speaker)
  }

  #name(row: number, list: number): void {
    while (row >= this.#listOf.length) this.#listOf = longer(this.#listOf, -1)
    this.#listOf[row] = list
  }

  #speaker(item: ItemId): number {
    const known = this.#speakers.get(item)
    if (known !== undefined) return known
    const speaker = this.#speakers.size
    if (speaker >= this.#starts.length) {
      this.#starts = longer(this.#starts)
      this.#lengths = longer(this.#lengths)
      this.#rooms = longer(this.#rooms)
    }
    this.#speakers.set(item, speaker)
    this.#lengths[speaker] = 0
    this.#rooms[speaker] = 0
    return speaker
  }

  #push(speaker: number, list: number, weight: number): void {
    const room = this.#rooms[speaker]!
    if (room === 0 || this.#lengths[speaker] === 1 << room) {
      this.#dropReplaced(speaker)
      // Mostly in use: otherwise the next entries would look through all of them again.
      if (room === 0 || this.#lengths[speaker]! > 0.75 * (1 << room))
        this.#moveTo(speaker, Math.max(leastRoom, room + 1))
    }
    const at = this.#starts[speaker]! + this.#lengths[speaker]!++
    this.#lists[at] = list
    this.#weights[at] = weight
  }

  #moveTo(speaker: number, room: number): void {
    const [from, length, before] = [this.#starts[speaker]!, this.#lengths[speaker]!, this.#rooms[speaker]!]
    let start = this.#free[room]?.pop()
    if (start === undefined) {
      start = this.#end
      this.#end += 1 << room
      if (this.#end > this.#lists.length) {
        const room = Math.max(this.#end, Math.ceil(1.5 * this.#lists.length))
        this.#lists = longer(this.#lists, 0, room)
        this.#weights = longer(this.#weights, 0, room)
      }
    }
    this.#lists.copyWithin(start, from, from + length)
    this.#weights.copyWithin(start, from, from + length)
    this.#starts[speaker] = start
    this.#rooms[speaker] = room
    if (before === 0) return
    this.#free[before] ??= []
    this.#free[before].push(from)
  }

  #dropReplaced(speaker: number): void {
    const start = this.#starts[speaker]!
    const end = start + this.#lengths[speaker]!
    let to = start
    for (let at = start; at < end; at++) {
      if (this.#rowOf[this.#lists[at]!]! < 0) continue
      this.#lists[to] = this.#lists[at]!
      this.#weights[to++] = this.#weights[at]!
    }
    this.#lengths[speaker] = to - start
  }

  /** Numbers lists and speakers again, and leaves no room unused. */
  #rebuild(): void {
    const [speakers, starts, lengths] = [[...this.#speakers], this.#starts, this.#lengths]
    const [lists, weights, rowOf] = [this.#lists, this.#weights, this.#rowOf]
    for (const [, speaker] of speakers) this.#dropReplaced(speaker)
    const numbers = new Int32Array(this.#nextList)
    let next = 0
    for (let list = 0; list < this.#nextList; list++) {
      const row = rowOf[list]!
      if (row < 0) continue
      numbers[list] = next
      this.#listOf[row] = next
      rowOf[next++] = row
    }
    this.#nextList = next
    this.#lists = new Uint32Array(this.#lists.length)
    this.#weights = new Float32Array(this.#weights.length)
    this.#free = []
    this.#end = 0
    this.#speakers.clear()
    this.#starts = new Uint32Array(starts.length)
    this.#lengths = new Uint32Array(starts.length)
    this.#rooms = new Uint8Array(starts.length)
    for (const [item, before] of speakers) {
      const end = starts[before]! + lengths[before]!
      for (let at = starts[before]!; at < end; at++) this.#push(this.#speaker(item), numbers[lists[at]!]!, weights[at]!)
    }
  }
}

/** A copy with room for `length` values, by default twice as many. */
function longer<T extends Uint8Array | Uint32Array | Int32Array | Float32Array | Float64Array>(
  values: T,
  fill = 0,
  length = 2 * values.length
): T {
  const into = new (values.constructor as new (length: number) => T)(length)
  into.set(values)
  if (fill !== 0) into.fill(fill, values.length)
  return into
}
