// Everything that a process does in the background goes through here: periodic work (metrics, the state of the index,
// maintenance of the log) and work that lasts as long as the process (stages, threads). Nothing in it dies unseen: what
// fails is retried or restarted with backoff, or ends the process, and readiness names it meanwhile.
// `test/core/supervision.test.ts` checks that no thread, timer or loop exists outside. Why: docs/decisions/0059.

import type { StageClock } from './clock.ts'
import { MtmiError } from './errors.ts'
import { Outage } from './outage.ts'
import { handledLater } from './promises.ts'

/** A round that takes longer is reported by readiness: a dependency neither answers nor fails. */
const roundMaxMs = 30_000
/** Work that has lasted so long has recovered: its next failure is restarted without delay again. */
const recoveredMs = 60_000
const restartWaitMs = { first: 200, max: 10_000 }
/** How long others get to end in order when one has failed. */
const endMaxMs = 10_000

interface RoundOptions {
  /** From the end of one round to the next. */
  readonly intervalMs: number
  /** The process is not ready while the task fails. Otherwise readiness only mentions it. */
  readonly required: boolean
}

interface KeepOptions {
  /**
   * Whether it is started again where it ends, unless its error cannot be retried. Otherwise `failed` rejects, and the
   * process must end.
   */
  readonly restarts: boolean
  /** What is wrong with it while it runs; the process is not ready then. */
  readonly problem?: () => string | undefined
  /** Whether the process is not ready while it fails. Default true. */
  readonly required?: boolean
}

/** Of one life of a task. */
export interface Life {
  readonly signal: AbortSignal
  /** Lives before this one that ended too early, since the task last worked for a minute. */
  readonly failures: number
  /** To be called when it does its work: from then on it is ready again. */
  up(): void
}

interface Task {
  readonly what: string
  readonly required: boolean
  /** What is wrong with it now. */
  readonly problem: (nowMs: number) => string | undefined
}

interface BackgroundTasksParts<Name extends string> {
  readonly clock: StageClock
  readonly onProblem: (text: string) => void
  /** Every failed round, and every life that ended too early. */
  readonly onFailure: (task: Name) => void
  /** Every restart. */
  readonly onRestart?: (task: Name) => void
}

export class BackgroundTasks<Name extends string> {
  readonly #parts: BackgroundTasksParts<Name>
  readonly #stop = new AbortController()
  readonly #tasks: Task[] = []
  readonly #loops: Promise<void>[] = []
  #failure: Error | undefined
  #fail!: (error: Error) => void
  /** Rejects when a task has failed that cannot be restarted; never resolves. */
  readonly failed: Promise<never>

  constructor(parts: BackgroundTasksParts<Name>) {
    this.#parts = parts
    this.failed = handledLater(
      new Promise<never>((_, reject) => {
        this.#fail = (error) => {
          this.#failure ??= error
          reject(this.#failure)
        }
      })
    )
  }

  /** The error of `failed`; undefined while there is none. */
  get failure(): Error | undefined {
    return this.#failure
  }

  /** Runs `work` now, and again and again until `stop`. @param what it does, as a noun phrase */
  every(name: Name, what: string, { intervalMs, required }: RoundOptions, work: () => unknown): void {
    const outage = this.#outage(name, what)
    const round: { startedMs?: number | undefined } = {}
    const problem = (nowMs: number) => {
      const lastsMs = nowMs - (round.startedMs ?? nowMs)
      return lastsMs > roundMaxMs ? `${what} has not ended for ${Math.round(lastsMs / 1000)} s` : outage.text
    }
    this.#tasks.push({ what, required, problem })
    this.#loops.push(handledLater(this.#repeat(outage, round, intervalMs, work)))
  }

  /** Runs `work` until `stop`: it ends when its signal aborts. @param what does it, as a noun phrase */
  keep(name: Name, what: string, options: KeepOptions, work: (life: Life) => Promise<void>): void {
    const { restarts, problem, required = true } = options
    const outage = this.#outage(name, what)
    const task = { ended: undefined as string | undefined }
    const own = () => task.ended ?? outage.text ?? problem?.()
    this.#tasks.push({ what, required, problem: own })
    const end = (error: Error) => {
      task.ended = `${what} has ended: ${error.message}`
      this.#fail(error)
      throw error
    }
    this.#loops.push(handledLater(this.#keepAlive(name, outage, restarts, work).catch(end)))
  }

  /** Adds what is wrong with tasks to the readiness of the process. */
  readiness<T extends { readonly ready: boolean; readonly detail: string }>(own: T): T {
    const nowMs = this.#parts.clock.nowMs()
    const problems = this.#tasks.flatMap(({ required, problem }) => {
      const text = problem(nowMs)
      return text === undefined ? [] : [{ required, text }]
    })
    const needed = problems.find(({ required }) => required)
    if (needed !== undefined)
      return { ...own, ready: false, detail: own.ready ? needed.text : `${own.detail}; ${needed.text}` }
    return problems.length === 0
      ? own
      : { ...own, detail: [own.detail, ...problems.map(({ text }) => text)].join('; ') }
  }

  /**
   * Ends all tasks, without waiting for a round that hangs; after a failure, not for long for the others either.
   *
   * @throws the error of `failed`, or of a task that could not end in order
   */
  async stop(): Promise<void> {
    this.#stop.abort()
    const ending = Promise.allSettled(this.#loops)
    if (this.#failure === undefined) await ending
    else await withinMs(this.#parts.clock, endMaxMs, ending)
    if (this.#failure !== undefined) throw this.#failure
  }

  #outage(name: Name, what: string): Outage {
    const { clock, onProblem, onFailure } = this.#parts
    return new Outage({ what, clock, onProblem, onFailure: () => onFailure(name) })
  }

  async #repeat(
    outage: Outage,
    round: { startedMs?: number | undefined },
    intervalMs: number,
    work: () => unknown
  ): Promise<void> {
    const { clock } = this.#parts
    const { signal } = this.#stop
    const aborted = handledLater(untilAborted(signal))
    while (!signal.aborted) {
      let waitMs = intervalMs
      round.startedMs = clock.nowMs()
      try {
        await Promise.race([handledLater((async () => work())()), aborted])
        if (signal.aborted) return
        outage.ended()
      } catch (error) {
        // Never sooner than a round that succeeds, nor so late that a short outage shows for long.
        waitMs = Math.max(intervalMs, Math.min(5000, outage.failed(error)))
      }
      round.startedMs = undefined
      await clock.sleep(waitMs, signal)
    }
  }

  async #keepAlive(name: Name, outage: Outage, restarts: boolean, work: (life: Life) => Promise<void>): Promise<void> {
    const { clock, onRestart } = this.#parts
    const { signal } = this.#stop
    for (let failures = 0; ; failures++) {
      const startedMs = clock.nowMs()
      let error: unknown
      try {
        await work({ signal, failures, up: () => outage.ended() })
        if (signal.aborted) return
        error = new Error('it ended although nothing had stopped it')
      } catch (thrown) {
        error = thrown
      }
      if (!restarts || signal.aborted || (error instanceof MtmiError && !error.canRetry)) throw error
      outage.failed(error)
      if (clock.nowMs() - startedMs >= recoveredMs) failures = 0
      const waitMs = failures === 0 ? 0 : Math.min(restartWaitMs.max, restartWaitMs.first * 2 ** failures)
      if (waitMs > 0) await clock.sleep(waitMs, signal)
      if (signal.aborted) return
      onRestart?.(name)
    }
  }
}

/**
 * Loops that are of no use without each other, by what they do: until abort, or until one of them fails, or ends where
 * it may not; then the others are stopped.
 *
 * @param mayEnd they end by themselves, at the end of what they read
 * @throws the first error, also where another loop does not end
 */
export async function runTogether(
  { signal, clock, mayEnd = false }: { signal: AbortSignal; clock: StageClock; mayEnd?: boolean },
  loops: Readonly<Record<string, (signal: AbortSignal) => Promise<void>>>
): Promise<void> {
  const own = new AbortController()
  const either = AbortSignal.any([signal, own.signal])
  let failure: { readonly error: unknown } | undefined
  const guarded = async ([what, loop]: [string, (signal: AbortSignal) => Promise<void>]) => {
    try {
      await loop(either)
      if (!mayEnd && !either.aborted) throw new Error(`${what} ended although nothing had stopped it`)
    } catch (error) {
      failure ??= { error }
      own.abort()
    }
  }
  const ended = handledLater(Promise.all(Object.entries(loops).map(guarded)))
  await Promise.race([ended, untilAborted(own.signal)])
  if (failure !== undefined) await withinMs(clock, endMaxMs, ended)
  if (failure !== undefined) throw (failure as { readonly error: unknown }).error
}

/** Waits for `work`, but no longer than `ms`. */
export async function withinMs(clock: StageClock, ms: number, work: Promise<unknown>): Promise<void> {
  const ended = new AbortController()
  try {
    await Promise.race([work, clock.sleep(ms, ended.signal)])
  } finally {
    ended.abort()
  }
}

export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
