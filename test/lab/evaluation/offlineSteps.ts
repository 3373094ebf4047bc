// Users with steps one second apart, from words.

import type { OfflineStep, UserSteps } from '../../../src/lab/evaluation/offlineSplit.ts'

let order = 0

/** @param text item ids, oldest first; users given later come later in the common order */
export function user(userId: string, text: string): UserSteps {
  return { userId, steps: steps(text) }
}

export function steps(text: string): OfflineStep[] {
  return text
    .split(' ')
    .filter((itemId) => itemId !== '')
    .map((itemId, i) => ({ itemId, type: 'click', eventTimeMs: i * 1000, order: order++ }))
}

export function itemsOf(list: readonly { readonly itemId: string }[]): string {
  return list.map(({ itemId }) => itemId).join(' ')
}
