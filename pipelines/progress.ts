// How far a catch-up is: the share of what there is to train on, events a second, time left.

import { number } from '../src/lab/evaluation/figures.ts'

/** The rate is that of the newest seconds: the first batches are slower, as the model's graph is made. */
const rateOverMs = 10_000
const barWidth = 24

export class CatchUp {
  readonly #samples: { readonly atMs: number; readonly done: number }[] = []

  /** @param done events handled so far @param remaining those that are still to be handled, as far as is known */
  text(done: number, remaining: number, nowMs: number): string {
    const samples = this.#samples
    // The time until the first event is that of the start, not of events.
    if (samples.length === 1 && samples[0]!.done === done) samples.pop()
    samples.push({ atMs: nowMs, done })
    const total = done + Math.max(0, remaining)
    const share = total === 0 ? 1 : done / total
    const filled = Math.floor(share * barWidth)
    const bar = '█'.repeat(filled) + '░'.repeat(barWidth - filled)
    // The oldest sample that counts, so that the rate is over no less than the span once there is one.
    while (samples.length > 2 && nowMs - samples[1]!.atMs >= rateOverMs) samples.shift()
    const first = samples[0]!
    const rate = nowMs > first.atMs ? ((done - first.done) * 1000) / (nowMs - first.atMs) : 0
    const parts = [
      `training ${String(Math.floor(100 * share)).padStart(3)}% ${bar} ${number(done)} of ${number(total)} events`,
      ...(rate > 0 && share < 1 ? [`${number(rate)} events/s`, `${duration(remaining / rate)} left`] : [])
    ]
    return parts.join(' · ')
  }
}

/** @param seconds 0 or more */
export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`
}
