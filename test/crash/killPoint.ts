// Where a process is to die: at the n-th call of a named operation. A proxy around the part counts the calls and pulls
// the trigger.

/** A boundary where something has become durable, or is about to. */
export const places = [
  'items', // appended by the feed, as
  'feed', // interactions are
  'open', // the windows of a partition
  'sequences', // appended by the sequencer, as are
  'late', // events and
  'dead-letters',
  'commit', // of windows and offsets
  'restore', // of the trainer
  'ledger', // of a batch's boundaries
  'trained', // written to the audit
  'trained-again', // after a restart, likewise
  'updates', // of the model, with the commit that closes them
  'checkpoint', // whole
  'changes', // to the one before
  'part', // of either: a slice between two batches
  'forget', // of older boundaries
  'live-read', // the publisher's model, when it starts
  'live-kept', // and when weights have taken effect
  'modelVersion', // created in the index
  'upsert',
  'remove', // of items that expired
  'promote',
  'gates', // what was found of new weights
  'published' // how far users are in the index
] as const

export type Place = (typeof places)[number]

export interface KillPoint {
  readonly place: Place
  /** `during`: after the call was made, some turns of the event loop later, whether or not it is through by then. */
  readonly when: 'before' | 'during' | 'after'
  /** Which call, from 1. */
  readonly nth: number
  readonly turns: number
}

export class Killer {
  readonly #point: KillPoint | undefined
  #left: number

  constructor(point: KillPoint | undefined) {
    this.#point = point
    this.#left = point?.nth ?? 0
  }

  /**
   * The part, as it is but for this.
   *
   * @param placeOf which boundary a call of a method is; undefined: none
   */
  around<T extends object>(part: T, placeOf: (method: string, args: readonly unknown[]) => Place | undefined): T {
    return new Proxy(part, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) => {
          const place = placeOf(String(name), args)
          const call = (): unknown => Reflect.apply(value, target, args)
          return place === undefined ? call() : this.at(place, call)
        }
      }
    })
  }

  at<T>(place: Place, call: () => T): T {
    const point = this.#point
    if (point?.place !== place || --this.#left !== 0) return call()
    if (point.when === 'before') die()
    const result = call()
    if (point.when === 'during') dieAfter(point.turns)
    else if (result instanceof Promise) void result.then(die)
    else die()
    return result
  }
}

function dieAfter(turns: number): void {
  if (turns === 0) die()
  setImmediate(() => dieAfter(turns - 1))
}

function die(): void {
  process.kill(process.pid, 'SIGKILL')
}
