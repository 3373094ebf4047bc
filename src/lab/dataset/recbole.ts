// RecBole's atomic files: a tab-separated header of `name:type` columns.

import { ConfigError } from '../../core/errors.ts'

/** A column of a RecBole atomic file: `user_id:token`. */
export interface AtomicColumn {
  readonly name: string
  readonly type: 'token' | 'token_seq' | 'float' | 'float_seq'
}

const atomicTypes = ['token', 'token_seq', 'float', 'float_seq']

/** The columns of an atomic file's header line; undefined if it is none. */
export function atomicHeader(line: string): AtomicColumn[] | undefined {
  const columns = line.split('\t').map((field) => {
    const colon = field.lastIndexOf(':')
    return { name: field.slice(0, colon).trim(), type: field.slice(colon + 1).trim() }
  })
  return columns.every(({ name, type }) => name !== '' && atomicTypes.includes(type))
    ? (columns as AtomicColumn[])
    : undefined
}

/** @throws ConfigError for an .inter file that holds whole lists, which is another protocol's data */
export function rejectListColumns(columns: readonly AtomicColumn[], where: string): void {
  const list = columns.find(({ name, type }) => /^item_id_list$/.test(name) && type === 'token_seq')
  if (list === undefined) return
  throw new ConfigError([
    `${where}: column ${list.name}:${list.type} holds examples already cut from sequences; give the .inter file with one interaction a line`
  ])
}
