// How it is told that new weights are held back: by readiness, by `mtmi versions` and by the console.

import type { HeldModel } from '../src/publish/modelGate.ts'

export function heldText({ step, sinceMs, text }: HeldModel): string {
  return `weights up to step ${step} are held back since ${new Date(sinceMs).toISOString()}: ${text}`
}

/** What readiness adds. Empty where nothing is held: serving goes on in any case, so this is no reason not to be ready. */
export function heldDetail(held: HeldModel | undefined): string {
  return held === undefined ? '' : `; ${heldText(held)}`
}
