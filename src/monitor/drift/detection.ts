/** A change that a detector noticed. */
export interface Detection {
  readonly signal: 'event_type' | 'item_popularity' | 'category' | 'new_user' | 'event_gap' | 'loss' | 'hit_rate'
  readonly detector: 'psi' | 'adwin'
  /** PSI, or the mean after the change. */
  readonly value: number
  /** Of the event that brought it out, milliseconds since the Unix epoch. */
  readonly eventTimeMs: number
}
