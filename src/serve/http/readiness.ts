// Whether a process does what it is there for, as /readyz says it.

export interface Readiness {
  readonly ready: boolean
  /** What is fresh, or what waits since when. */
  readonly detail: string
}
