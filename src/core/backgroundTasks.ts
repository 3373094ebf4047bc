// Work that a process repeats beside its stages: metrics, the state of the index, maintenance of the log. A task
// survives failures of its dependencies: each is counted, each outage is reported once, and readiness names it.

import type { StageClock } from './clock.ts'
import { Outage } from './outage.ts'
import { handledLater } from './promises.ts'

/** A round that takes longer is reported by readiness: a dependency neither answers nor fails. */
const roundMaxMs = 30_000

export interface TaskOptions {
  /** From the end of one round to the next. */
  readonly intervalMs: number
  /** The process is not ready while the task fails. Otherwise readiness only mentions it. */
  readonly required: boolean
}

interface Task {
  readonly outage: Outage
  readonly what: string
  readonly required: boolean
  /** When the running round began; undefined: none is running. */
  startedMs: number | undefined
}

export interface BackgroundTasksParts<Name extends string> {
  readonly clock: StageClock
  readonly onProblem: (text: string) => void
  readonly onFailure: (task: Name) => void
}

export class BackgroundTasks<Name extends string> {
  readonly #parts: BackgroundTasksParts<Name>
  readonly #stop = new AbortController()
  readonly #tasks: Task[] = []
  readonly #loops: Promise<void>[] = []

  constructor(parts: BackgroundTasksParts<Name>) {
    this.#parts = parts
  }

  /** Runs `work` now, and again and again until `stop`. @param what it does, as a noun phrase */
  every(name: Name, what: string, { intervalMs, required }: TaskOptions, work: () => unknown): void {
    const { clock, onProblem, onFailure } = this.#parts
    const outage = new Outage({ what, clock, onProblem, onFailure: () => onFailure(name) })
    const task: Task = { outage, what, required, startedMs: undefined }
    this.#tasks.push(task)
    this.#loops.push(handledLater(this.#repeat(task, intervalMs, work)))
  }

  /** Adds failing tasks to the readiness of the process. */
  readiness<T extends { readonly ready: boolean; readonly detail: string }>(own: T): T {
    const nowMs = this.#parts.clock.nowMs()
    const problems = this.#tasks.flatMap(({ outage, what, required, startedMs }) => {
      const hangsMs = startedMs === undefined ? 0 : nowMs - startedMs
      const text = hangsMs > roundMaxMs ? `${what} has not ended for ${Math.round(hangsMs / 1000)} s` : outage.text
      return text === undefined ? [] : [{ required, text }]
    })
    const needed = problems.find(({ required }) => required)
    if (needed !== undefined) return { ...own, ready: false, detail: needed.text }
    return problems.length === 0
      ? own
      : { ...own, detail: [own.detail, ...problems.map(({ text }) => text)].join('; ') }
  }

  /** Ends all tasks, without waiting for a round that hangs. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#loops)
  }

  async #repeat(task: Task, intervalMs: number, work: () => unknown): Promise<void> {
    const { clock } = this.#parts
    const { signal } = this.#stop
    const aborted = new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
    while (!signal.aborted) {
      let waitMs = intervalMs
      task.startedMs = clock.nowMs()
      try {
        await Promise.race([handledLater((async () => work())()), aborted])
        task.outage.ended()
      } catch (error) {
        // Never sooner than a round that succeeds, nor so late that a short outage shows for long.
        waitMs = Math.max(intervalMs, Math.min(5000, task.outage.failed(error)))
      }
      task.startedMs = undefined
      await clock.sleep(waitMs, signal)
    }
  }
}
