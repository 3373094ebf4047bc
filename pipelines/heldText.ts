// How it is told that new weights are held back: by readiness, by `mtmi versions` and by the console.

import type { HeldModel } from '../src/publish/modelGate.ts'
import type { HeldPromotion } from '../src/publish/publisherReport.ts'

export function heldText({ step, sinceMs, text }: HeldModel): string {
  return `weights up to step ${step} are held back since ${new Date(sinceMs).toISOString()}: ${text}`
}

/**
 * What readiness adds. Empty where nothing is held: serving goes on in any case, so this is no reason not to be ready.
 */
export function heldDetail(
  publish: { readonly held?: HeldModel; readonly heldPromotion?: HeldPromotion } | undefined
): string {
  const { held, heldPromotion } = publish ?? {}
  return [
    ...(held === undefined ? [] : [heldText(held)]),
    ...(heldPromotion === undefined ? [] : [promotionText(heldPromotion)])
  ]
    .map((text) => `; ${text}`)
    .join('')
}

export function promotionText({ sinceMs, text }: HeldPromotion): string {
  return `since ${new Date(sinceMs).toISOString()} ${text}`
}
