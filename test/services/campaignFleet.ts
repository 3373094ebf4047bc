// Processes of several roles that are started again when they end, and a hand that kills and stops them at random.

import { setTimeout as pause } from 'node:timers/promises'
import type { Rng } from '../../src/core/rng.ts'
import { MtmiProcess } from '../support/mtmiProcess.ts'

export type Role = 'ingest' | 'sequence' | 'publish' | 'train'

interface Running {
  readonly role: Role
  process: MtmiProcess
  /** Not to be struck again before it goes on. */
  stopped: boolean
  /** Told to end: not to be started again. */
  ending: boolean
}

/** Processes that are started again when they end, as a supervisor does. */
export class Fleet {
  readonly #settings: object
  readonly #dataDir: string
  readonly #say: (text: string) => void
  #running: Running[] = []
  restarts = 0
  readonly lastWords: string[] = []
  /** What a process said that ended though nobody had killed it: the last of each, for a failure's report. */
  readonly complaints: string[] = []

  constructor(settings: object, dataDir: string, say: (text: string) => void) {
    this.#settings = settings
    this.#dataDir = dataDir
    this.#say = say
  }

  start(role: Role): void {
    const running: Running = { role, process: this.#spawn(role), stopped: false, ending: false }
    this.#running.push(running)
    void this.#supervise(running)
  }

  /** Not one that is stopped just now. */
  any(rng: Rng, role?: Role): Running | undefined {
    const able = this.#running.filter((running) => !running.stopped && (role === undefined || running.role === role))
    return able[Math.floor(rng.uniform() * able.length)]
  }

  /** Those of one role end in order, and are not started again. */
  async retire(role: Role): Promise<void> {
    const leaving = this.#running.filter((running) => running.role === role)
    this.#running = this.#running.filter((running) => running.role !== role)
    await this.#end(leaving)
  }

  async end(): Promise<void> {
    await this.#end(this.#running)
  }

  async #end(running: readonly Running[]): Promise<void> {
    for (const one of running) one.ending = true
    await Promise.all(
      running.map(async ({ process }) => {
        process.signal('SIGCONT')
        process.signal('SIGTERM')
        const late = setTimeout(() => process.signal('SIGKILL'), 20_000)
        const { stderr } = await process.ended
        clearTimeout(late)
        this.lastWords.push(stderr)
      })
    )
  }

  #spawn(role: Role): MtmiProcess {
    const set = Object.entries(this.#settings).flatMap(([key, value]) => ['--set', `${key}=${JSON.stringify(value)}`])
    return new MtmiProcess([role, '--data-dir', this.#dataDir, ...set], { cwd: this.#dataDir })
  }

  async #supervise(running: Running): Promise<void> {
    for (;;) {
      const { status, stderr } = await running.process.ended
      if (running.ending) return
      if (status !== null) {
        const last = stderr.trim().split('\n').slice(-2).join(' | ')
        this.complaints.push(`${running.role} ended with ${status}: ${last}`)
        this.#say(this.complaints.at(-1)!)
        // Configuration and corruption are nothing that a restart mends.
        if (status !== 1) return
      }
      this.restarts++
      running.process = this.#spawn(running.role)
    }
  }
}

export interface Blows {
  readonly kills: number
  /** Besides the kills: a `sequence` is stopped for longer than its session lasts, and then let go on. */
  readonly stops: number
  /** Between two blows, milliseconds. */
  readonly blowIntervalMs: number
  readonly sessionTimeoutMs: number
  readonly say: (text: string) => void
}

/** @param blows counts them */
export async function strike(
  fleet: Fleet,
  options: Blows,
  rng: Rng,
  blows: { kills: number; stops: number }
): Promise<void> {
  const stops: Promise<void>[] = []
  while (blows.kills < options.kills || blows.stops < options.stops) {
    await pause(options.blowIntervalMs * (0.5 + rng.uniform()))
    const [killsLeft, stopsLeft] = [options.kills - blows.kills, options.stops - blows.stops]
    const stop = rng.uniform() * (killsLeft + stopsLeft) >= killsLeft
    const victim = fleet.any(rng, stop ? 'sequence' : undefined)
    if (victim === undefined) continue
    const { process, role } = victim
    if (stop) {
      blows.stops++
      victim.stopped = true
      options.say(`stop ${role} ${process.pid}`)
      process.signal('SIGSTOP')
      const goOn = async () => {
        await pause(options.sessionTimeoutMs * (1.5 + rng.uniform()))
        process.signal('SIGCONT')
        victim.stopped = false
      }
      stops.push(goOn())
    } else {
      blows.kills++
      options.say(`kill ${role} ${process.pid}`)
      process.signal('SIGKILL')
    }
  }
  await Promise.all(stops)
}
