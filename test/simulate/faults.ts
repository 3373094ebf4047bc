// What goes wrong in a run, drawn from its seed. Each kind of fault is absent from half of the runs: together they
// would hide what each does alone.

import { UnavailableError } from '../../src/core/errors.ts'
import type { Life, World } from './world.ts'

export const services = ['log', 'index', 'state', 'registry'] as const
export type Service = (typeof services)[number]

/** Says which service it was that did not do what it was asked. */
export class ServiceError extends UnavailableError {
  readonly service: Service

  constructor(service: Service, what: string) {
    super(`${service}, ${what} (simulated)`)
    this.service = service
  }
}

export class Faults {
  readonly #world: World
  /** Share of the calls that fail, by service. */
  readonly #errorShare: Readonly<Record<Service, number>>
  readonly #downUntilMs: Record<Service, number> = { log: 0, index: 0, state: 0, registry: 0 }
  readonly #latencyMs: number
  readonly #slowShare: number
  /** Share of the appends that the log takes twice, or only in part before they fail. */
  readonly repeatShare: number
  readonly killMeanMs: number
  readonly outageMeanMs: number
  readonly rebalanceMeanMs: number
  readonly jumpMeanMs: number
  readonly compactMeanMs: number
  readonly requestMeanMs: number
  /** Share of the calls whose process is killed between their effect and their answer. */
  readonly #killShare: number
  /** Share of the batches whose step is not finite. */
  readonly divergedShare: number
  /** Kills a process. */
  onKill: (life: Life) => void = () => {}
  on = true

  constructor(world: World) {
    this.#world = world
    const sometimes = (value: () => number) => (world.chance(0.5) ? value() : 0)
    const share = (exponentMax = -1.3) => sometimes(() => 10 ** world.between(-3.3, exponentMax))
    // An index that fails ends no process, so it may fail more often.
    this.#errorShare = { log: share(), index: share(-0.4), state: share(), registry: share() }
    this.#latencyMs = world.between(0.2, 30)
    this.#slowShare = sometimes(() => world.between(0, 0.05))
    this.repeatShare = sometimes(() => world.between(0, 0.2))
    const rarely = (fromMs: number, toMs: number) =>
      sometimes(() => world.between(fromMs, toMs)) || Number.POSITIVE_INFINITY
    this.killMeanMs = rarely(5_000, 60_000)
    this.outageMeanMs = rarely(20_000, 120_000)
    this.rebalanceMeanMs = rarely(10_000, 60_000)
    this.jumpMeanMs = rarely(10_000, 120_000)
    this.compactMeanMs = rarely(10_000, 60_000)
    this.requestMeanMs = rarely(20_000, 120_000)
    this.#killShare = sometimes(() => 10 ** world.between(-4, -2))
    this.divergedShare = world.chance(0.2) ? world.between(0.1, 0.6) : 0
    world.lazinessMs = world.between(20, 400)
  }

  /** Nothing that is asked of it is answered for so long. */
  breakDown(service: Service, forMs: number): void {
    this.#downUntilMs[service] = this.#world.nowMs + forMs
    this.#world.trace('world', `${service} is away for ${Math.round(forMs)} ms`)
  }

  isDown(service: Service): boolean {
    return this.#downUntilMs[service] > this.#world.nowMs
  }

  end(): void {
    this.on = false
    for (const service of services) this.#downUntilMs[service] = 0
    this.#world.trace('world', 'no more faults')
  }

  #latency(): number {
    const slow = this.on && this.#world.chance(this.#slowShare) ? this.#world.between(100, 5000) : 0
    return -this.#latencyMs * Math.log(1 - this.#world.rng.uniform()) + slow
  }

  /**
   * One call of a service: some time, the effect at one moment, some more time. It may fail before the effect or after
   * it. A service that is away is asked again for a while, as its clients do, and then given up.
   *
   * @param how isUnderWay: the caller has waited for it already; isNothing: of a result that need not be waited for
   * @throws UnavailableError
   */
  async call<T>(
    life: Life,
    service: Service,
    what: string,
    effect: () => T | Promise<T>,
    { isUnderWay = false, isNothing }: { isUnderWay?: boolean; isNothing?: (result: T) => boolean } = {}
  ): Promise<T> {
    const world = this.#world
    if (!isUnderWay) await life.wait(this.#latency())
    if (this.isDown(service)) {
      const patienceMs = world.between(0, 30_000)
      await life.wait(Math.min(patienceMs, this.#downUntilMs[service] - world.nowMs + 1))
      if (this.isDown(service)) throw this.#failed(life, service, `${what}: no answer`)
    }
    const fails = this.on && world.chance(this.#errorShare[service])
    if (fails && world.chance(0.5)) throw this.#failed(life, service, `${what}: failed`)
    const result = await effect()
    if (this.on && world.chance(this.#killShare)) {
      world.trace(life.name, `${service} ${what}: done, and killed before the answer`)
      world.schedule(world.outside, 0, () => life.alive && this.onKill(life))
    }
    if (fails || isNothing?.(result) !== true) await life.wait(this.#latency())
    if (fails) throw this.#failed(life, service, `${what}: done, but the answer was lost`)
    return result
  }

  /** A call that does not wait, of a file for example. @throws UnavailableError */
  now(life: Life, what: string): void {
    if (this.on && this.#world.chance(this.#errorShare.state)) throw this.#failed(life, 'state', `${what}: failed`)
  }

  #failed(life: Life, service: Service, what: string): ServiceError {
    this.#world.trace(life.name, `${service} ${what}`)
    this.#world.rejected = true
    return new ServiceError(service, what)
  }
}
