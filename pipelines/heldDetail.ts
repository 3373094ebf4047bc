// How readiness tells that new weights are held back.

import type { HeldModel } from './stages/modelGate.ts'

/** Empty where nothing is held: serving goes on in any case, so this is no reason not to be ready. */
export function heldDetail(held: HeldModel | undefined): string {
  if (held === undefined) return ''
  return `; weights up to step ${held.step} are held back since ${new Date(held.sinceMs).toISOString()}: ${held.text}`
}
