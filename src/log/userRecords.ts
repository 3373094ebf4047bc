// Records of `user-sequences`: their key says whose they are, and what they hold must be of the same user.

import { BadEventError } from '../core/errors.ts'
import { admit, idProblem } from '../records/admission.ts'
import type { Codecs } from '../records/avro/avroCodecs.ts'
import type { UserId } from '../records/interaction.ts'
import type { UserSequence } from '../records/userSequence.ts'
import type { LogRecord, NewRecord } from './eventLog.ts'

const untext = new TextDecoder('utf-8', { fatal: true })

/** The user that the key names. @throws BadEventError if it names none */
export function userOf({ key }: Pick<LogRecord, 'key'>): UserId {
  return keyText('user', key)
}

/** The id that a key is. @throws BadEventError if it can be none */
export function keyText(what: 'user' | 'item', key: Uint8Array): string {
  let id: string
  try {
    id = untext.decode(key)
  } catch {
    throw new BadEventError(`the key is no ${what}'s id: ${key.length} bytes that are not UTF-8`)
  }
  admit(idProblem(`the key, the ${what}'s id,`, id))
  return id
}

/** Where the offsets of `interactions` in a record are from: `base` was added to those of the topic with the id. */
export interface OffsetSource {
  readonly id: string
  readonly base: bigint
}

const sourceHeader = 'mtmi.interactions'

/** For every record, once offsets are not those of the topic. */
export function sourceHeaders(source: OffsetSource | undefined): Pick<NewRecord, 'headers'> {
  return source === undefined ? {} : { headers: { [sourceHeader]: Buffer.from(`${source.id}:${source.base}`) } }
}

export function readSource({ [sourceHeader]: header }: LogRecord['headers']): OffsetSource | undefined {
  const found = header === undefined ? null : /^([^:]*):(-?\d{1,19})$/.exec(new TextDecoder().decode(header))
  return found === null ? undefined : { id: found[1]!, base: BigInt(found[2]!) }
}

/** @throws BadEventError if the value is no user sequence, or not of the user and the partition that it was read for */
export function sequenceOf(codecs: Pick<Codecs, 'userSequence'>, { key, value, partition }: LogRecord): UserSequence {
  const sequence = codecs.userSequence.decode(value!)
  if (Buffer.compare(key, Buffer.from(sequence.userId)) !== 0)
    throw new BadEventError(
      `userId is ${JSON.stringify(sequence.userId.slice(0, 64))}, but the record's key is another`
    )
  if (sequence.partition !== partition)
    throw new BadEventError(
      `the user lives in partition ${sequence.partition}, but the record is in partition ${partition}`
    )
  return sequence
}
