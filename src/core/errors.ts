// Errors sorted by who must act. Everything that is the world's fault is an MtmiError; a plain Error or AssertionError
// is our bug.

export type ErrorCode = 'CONFIG' | 'BAD_EVENT' | 'UNAVAILABLE' | 'DIVERGED' | 'CORRUPT'

/**
 * Exit status by code, as sysexits(3) has them where it has one: a supervisor restarts on 1, and must not on 78 or 2.
 */
export const exitCodes: Readonly<Record<ErrorCode, number>> = {
  CONFIG: 78,
  BAD_EVENT: 65,
  UNAVAILABLE: 1,
  DIVERGED: 70,
  CORRUPT: 2
}

export class MtmiError extends Error {
  override readonly name: string = 'MtmiError'
  readonly code: ErrorCode
  /** Whether the same call may succeed later without a fix. */
  readonly canRetry: boolean

  /** @param message what was tried, with which value, and what to do */
  constructor(code: ErrorCode, message: string, options: { cause?: unknown; canRetry?: boolean } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.canRetry = options.canRetry ?? code === 'UNAVAILABLE'
  }
}

/** The configuration, or a command line, cannot be used: `problems` lists every one of them. */
export class ConfigError extends MtmiError {
  override readonly name = 'ConfigError'
  readonly problems: readonly string[]

  constructor(problems: readonly string[], options: { cause?: unknown } = {}) {
    super(
      'CONFIG',
      problems.length === 1 ? problems[0]! : `${problems.length} problems:\n  - ${problems.join('\n  - ')}`,
      options
    )
    this.problems = problems
  }
}

/** A record is larger than its topic takes; with others or alone, nothing of it is in the topic. */
export class TooLargeError extends MtmiError {
  override readonly name = 'TooLargeError'
  constructor(message: string, options: { cause?: unknown } = {}) {
    super('CONFIG', message, options)
  }
}

/** One record cannot be used. It goes to the dead-letter topic; the stream continues. */
export class BadEventError extends MtmiError {
  override readonly name = 'BadEventError'
  constructor(message: string, options: { cause?: unknown } = {}) {
    super('BAD_EVENT', message, options)
  }
}

/** A broker, an index or a registry does not answer. */
export class UnavailableError extends MtmiError {
  override readonly name = 'UnavailableError'
  constructor(message: string, options: { cause?: unknown } = {}) {
    super('UNAVAILABLE', message, options)
  }
}

/**
 * An owner may not append under its fence any more: a newer owner has claimed it, or the outcome of an append is not
 * known. It begins again from what the log says.
 */
export class FencedError extends MtmiError {
  override readonly name = 'FencedError'
  readonly hasNewerOwner: boolean

  constructor(message: string, options: { readonly hasNewerOwner: boolean; readonly cause?: unknown }) {
    super('UNAVAILABLE', message, { cause: options.cause, canRetry: false })
    this.hasNewerOwner = options.hasNewerOwner
  }
}

/** A loss or a gradient is not finite; no weight has changed. */
export class DivergedError extends MtmiError {
  override readonly name = 'DivergedError'
  constructor(message: string) {
    super('DIVERGED', message)
  }
}

/** Bytes on disk are not what was written. Never overwritten. */
export class CorruptError extends MtmiError {
  override readonly name = 'CorruptError'
  constructor(message: string, options: { cause?: unknown } = {}) {
    super('CORRUPT', message, options)
  }
}
