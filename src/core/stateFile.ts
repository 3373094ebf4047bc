// A file of JSON that a process keeps beside the log: written whole or not at all, and checked when it is read.

import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { z } from 'zod'
import { explained } from './diskFault.ts'
import { CorruptError } from './errors.ts'
import { type Disk, writeFileAtomically } from './files.ts'

/** For the schemas of kinds. */
export { z }

/** What a state file holds. `T` must survive JSON. */
export interface StateKind<T> {
  /** Of the file: `gates.json`. */
  readonly file: string
  /** Raise it when what is kept changes its meaning: files of other versions are refused. */
  readonly version: number
  /** Checked when it is read. */
  readonly schema: z.ZodType
  /** What removing the file causes, as the end of "if it is removed, …". */
  readonly removed: string
  /** Never set: carries the type. */
  readonly of?: T
}

export interface StateFile<T> {
  /**
   * undefined if it was never saved. @throws CorruptError if it is not what was saved; ConfigError if it cannot be read
   */
  load(): T | undefined
  /**
   * @throws UnavailableError if there is no room; ConfigError if it cannot be written. What was saved before is then
   *   still there
   */
  save(state: T): void
}

export function openStateFile<T>(
  file: string,
  { file: kind, version, schema, removed }: StateKind<T>,
  disk?: Disk
): StateFile<T> {
  const damaged = (what: string, cause?: unknown) =>
    new CorruptError(
      `${file} ${what}. Restore it from a copy, or remove it: if it is removed, ${removed}`,
      cause === undefined ? {} : { cause }
    )
  return {
    load() {
      let text: string
      try {
        if (!existsSync(file)) return undefined
        text = readFileSync(file, 'utf8')
      } catch (error) {
        throw explained(error, path.dirname(file))
      }
      let parsed: Partial<Envelope> | null
      try {
        parsed = JSON.parse(text) as Partial<Envelope> | null
      } catch (error) {
        throw damaged(text === '' ? 'is empty' : 'is damaged: it is not JSON, or not all of it', error)
      }
      if (typeof parsed !== 'object' || parsed === null || parsed.kind !== kind || !Number.isInteger(parsed.version))
        throw damaged(`is damaged: it is no ${kind}`)
      if (parsed.version !== version)
        throw damaged(`is of version ${parsed.version}; this program reads version ${version}`)
      if (parsed.sha256 !== checksum(parsed.state)) throw damaged('is damaged: its checksum does not match')
      const { error } = schema.safeParse(parsed.state)
      if (error !== undefined) {
        const [issue] = error.issues
        throw damaged(`is damaged: ${issue?.path.join('.') || 'its content'}: ${issue?.message}`, error)
      }
      return parsed.state as T
    },
    save(state) {
      const envelope: Envelope = { kind, version, sha256: checksum(state), state }
      writeFileAtomically(file, `${JSON.stringify(envelope)}\n`, disk)
    }
  }
}

interface Envelope {
  readonly kind: string
  readonly version: number
  readonly sha256: string
  readonly state: unknown
}

/** 64 bits: against damage, not against an attacker. */
function checksum(state: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(state) ?? '')
    .digest('hex')
    .slice(0, 16)
}
