// Virtual time and the one scheduler: everything that waits in a simulated run waits here, and a seed decides in which
// order it continues.
//
// Between two entries of the queue all microtasks run to their end, so a process is always at rest when it is killed:
// what it awaits never comes.

import { type StageClock, steadyClock } from '../../src/core/clock.ts'
import { Rng } from '../../src/core/rng.ts'

/** When a run begins, milliseconds since the Unix epoch. */
export const epochMs = Date.UTC(2026, 0, 1)

/** Entries of the queue after which a rejection without a handler is reported, at the latest. */
const turnEvery = 32

interface Entry {
  readonly atMs: number
  readonly order: number
  readonly life: Life
  readonly run: () => void
}

/** From the start of a process to its end. What a dead one waits for never comes. */
export class Life {
  readonly world: World
  readonly name: string
  alive = true
  /** Nothing of it runs before. */
  frozenUntilMs = 0
  /** Its entries in the queue. */
  waiting = 0

  constructor(world: World, name: string) {
    this.world = world
    this.name = name
  }

  kill(): void {
    this.alive = false
    this.world.trace(this.name, 'killed')
  }

  freeze(forMs: number): void {
    this.frozenUntilMs = this.world.nowMs + forMs
    this.world.trace(this.name, `frozen for ${Math.round(forMs)} ms`)
  }

  /** Resolves after `ms`; never, if the life ends before. On abort at once. */
  wait(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal === undefined || signal.aborted) this.world.schedule(this, signal === undefined ? ms : 0, resolve)
      else new Wait(this, resolve, signal).resolveIn(ms)
    })
  }

  /** As `wait`, and sooner if records are appended to the topic. */
  waitForRecords(waiting: Set<Wait>, ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return this.world.schedule(this, 0, resolve)
      const wait = new Wait(this, resolve, signal, waiting)
      waiting.add(wait)
      wait.resolveIn(ms)
    })
  }
}

/** Ends at the earliest of several moments. An object, because a closure for each would cost more than all else. */
export class Wait {
  readonly #life: Life
  readonly #resolve: () => void
  readonly #signal: AbortSignal
  readonly #among: Set<Wait> | undefined
  #isDone = false
  readonly run = (): void => {
    if (this.#isDone) return
    this.#isDone = true
    this.#signal.removeEventListener('abort', this)
    this.#among?.delete(this)
    this.#resolve()
  }

  constructor(life: Life, resolve: () => void, signal: AbortSignal, among?: Set<Wait>) {
    this.#life = life
    this.#resolve = resolve
    this.#signal = signal
    this.#among = among
    signal.addEventListener('abort', this, { once: true })
  }

  resolveIn(ms: number): void {
    this.#life.world.schedule(this.#life, ms, this.run)
  }

  handleEvent(): void {
    this.resolveIn(0)
  }
}

export class World {
  readonly rng: Rng
  /** Milliseconds since the run began. */
  nowMs = 0
  /** How much later than asked for a sleeper may wake, milliseconds. */
  lazinessMs = 0
  /** What is wrong, as soon as it is seen. */
  readonly violations: string[] = []
  readonly lines: string[] = []
  /** Of the machine that the processes run on, against true time. */
  #wallOffsetMs = 0
  /** A call was refused: whether that is handled is checked before anything else happens. */
  rejected = false
  #queue: Entry[] = []
  #isOver = false
  readonly outside: Life

  constructor(seed: number) {
    this.rng = new Rng(seed)
    this.outside = new Life(this, 'world')
  }

  /** After the run. What processes still do, because they are aborted to release their memory, counts no more. */
  end(): void {
    this.#isOver = true
    this.#queue = []
  }

  trace(who: string, what: string): void {
    if (this.#isOver) return
    this.lines.push(`${this.nowMs.toFixed(3).padStart(12)} ${who.padEnd(12)} ${what}`)
  }

  violated(what: string): void {
    if (this.#isOver) return
    this.trace('VIOLATED', what)
    this.violations.push(what)
  }

  chance(share: number): boolean {
    return this.rng.uniform() < share
  }

  /** Uniform over [from, to). */
  between(from: number, to: number): number {
    return from + (to - from) * this.rng.uniform()
  }

  pick<T>(values: readonly T[]): T {
    return values[this.rng.integer(values.length)]!
  }

  jumpClock(byMs: number): void {
    this.#wallOffsetMs += byMs
    this.trace('world', `the clock jumps by ${Math.round(byMs)} ms`)
  }

  /** What a process of this life knows of time, and waits by. */
  clockOf(life: Life): StageClock {
    const nowMs = steadyClock(
      () => Math.floor(epochMs + this.nowMs + this.#wallOffsetMs),
      () => this.nowMs
    )
    return {
      nowMs,
      sleep: (ms, signal) =>
        life.wait(ms + (ms === 0 ? this.rng.uniform() : this.lazinessMs * this.rng.uniform() ** 3), signal)
    }
  }

  schedule(life: Life, inMs: number, run: () => void): void {
    if (this.#isOver) return
    life.waiting++
    this.#push({ atMs: this.nowMs + inMs, order: this.rng.uint32(), life, run })
  }

  /**
   * Until `done`, asked after every entry, or until `untilMs`, or until nothing waits.
   *
   * @returns whether it was done
   */
  async run(done: () => boolean, untilMs: number): Promise<boolean> {
    let entries = 0
    while (this.#queue.length > 0) {
      if (done()) return true
      const entry = this.#pop()
      const { life } = entry
      if (!life.alive) {
        life.waiting--
        continue
      }
      if (entry.atMs > untilMs) {
        this.#push(entry)
        this.nowMs = untilMs
        return false
      }
      this.nowMs = Math.max(this.nowMs, entry.atMs)
      if (life.frozenUntilMs > this.nowMs) {
        this.#push({ ...entry, atMs: life.frozenUntilMs, order: this.rng.uint32() })
        continue
      }
      life.waiting--
      entry.run()
      await microtasks()
      if (!this.rejected && ++entries % turnEvery > 0) continue
      this.rejected = false
      await turn()
    }
    return done()
  }

  // A binary heap, earliest first; among those of one moment the seed decides.
  #push(entry: Entry): void {
    const queue = this.#queue
    let at = queue.push(entry) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(queue[at]!, queue[parent]!)) break
      swap(queue, at, parent)
      at = parent
    }
  }

  #pop(): Entry {
    const queue = this.#queue
    const first = queue[0]!
    const last = queue.pop()!
    if (queue.length === 0) return first
    queue[0] = last
    for (let at = 0; ; ) {
      const left = 2 * at + 1
      if (left >= queue.length) break
      const child = left + 1 < queue.length && before(queue[left + 1]!, queue[left]!) ? left + 1 : left
      if (!before(queue[child]!, queue[at]!)) break
      swap(queue, at, child)
      at = child
    }
    return first
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}

function swap(queue: Entry[], a: number, b: number): void {
  const held = queue[a]!
  queue[a] = queue[b]!
  queue[b] = held
}

/**
 * Resolves when all microtasks have run: Node runs a callback of `nextTick` then, at a tenth of the cost of a turn of
 * its event loop.
 */
function microtasks(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve))
}

/** As `microtasks`, and rejections without a handler have been reported. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
