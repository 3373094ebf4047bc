// Cuts what the model learns from out of a user's record.

import type { Example } from './example.ts'
import type { UserSequence } from './userSequence.ts'

/**
 * One example for each fresh step that has a step before it and a type that counts, oldest first.
 *
 * @param weightOf by event type; undefined or 0 for a type that is kept in histories but not trained on
 * @param onLeftOut called with why, for each fresh step that is no example
 */
export function cutExamples(
  sequence: Pick<UserSequence, 'userId' | 'steps' | 'fresh' | 'partition'>,
  weightOf: (type: string) => number | undefined,
  onLeftOut: (reason: 'first' | 'weightless') => void = () => {}
): Example[] {
  const examples: Example[] = []
  for (const { position, offset } of sequence.fresh) {
    const target = sequence.steps[position]
    if (target === undefined)
      throw new Error(`fresh position ${position} in a window of ${sequence.steps.length} steps`)
    const weight = weightOf(target.type) ?? 0
    if (position === 0 || weight <= 0) {
      onLeftOut(weight <= 0 ? 'weightless' : 'first')
      continue
    }
    examples.push({
      userId: sequence.userId,
      history: sequence.steps.slice(0, position),
      target,
      source: { partition: sequence.partition, offset },
      weight
    })
  }
  return examples
}
