// What a command that failed says, and which status it ends with.

import { exitCodes, MtmiError } from '../../src/core/errors.ts'

/** EX_SOFTWARE of sysexits(3): a bug of ours. */
const bugStatus = 70

/** Errors of the operating system that nobody turned into one of ours: what to do, and the status. LMDB gives them as numbers. */
const systemFaults: Readonly<Record<string, { advice: string; status: number }>> = {
  EACCES: { advice: 'Mend the permissions, or choose another --data-dir', status: exitCodes.CONFIG },
  EPERM: { advice: 'Mend the permissions, or choose another --data-dir', status: exitCodes.CONFIG },
  EROFS: { advice: 'The file system is read-only: choose another --data-dir', status: exitCodes.CONFIG },
  ENOTDIR: { advice: 'A file stands where a folder is needed: choose another --data-dir', status: exitCodes.CONFIG },
  EISDIR: { advice: 'A folder stands where a file is needed', status: exitCodes.CONFIG },
  ENOENT: { advice: 'It was there when this began, or should have been', status: exitCodes.UNAVAILABLE },
  ENOSPC: { advice: 'The disk is full: make room and start again, nothing that was committed is lost', status: exitCodes.UNAVAILABLE },
  EDQUOT: {
    advice: 'The disk quota is used up: make room and start again, nothing that was committed is lost',
    status: exitCodes.UNAVAILABLE
  },
  EMFILE: { advice: 'Too many files are open: raise `ulimit -n`', status: exitCodes.UNAVAILABLE },
  ENOMEM: { advice: 'Memory is used up', status: exitCodes.UNAVAILABLE },
  EIO: { advice: 'The disk does not read or write as it should', status: exitCodes.CORRUPT }
}
const systemNumbers: Readonly<Record<number, string>> = {
  1: 'EPERM',
  2: 'ENOENT',
  5: 'EIO',
  12: 'ENOMEM',
  13: 'EACCES',
  20: 'ENOTDIR',
  24: 'EMFILE',
  28: 'ENOSPC',
  30: 'EROFS',
  122: 'EDQUOT'
}

/** Says on standard error what went wrong. @returns the exit status */
export function explainFailure(error: unknown, say: (text: string) => void = (text) => process.stderr.write(text)): number {
  if (error instanceof MtmiError) {
    say(`mtmi: ${error.message}\n`)
    return exitCodes[error.code]
  }
  const { code, exitCode, message } = (error ?? {}) as { code?: string | number; exitCode?: number; message?: string }
  // commander has said it already.
  if (typeof code === 'string' && code.startsWith('commander.')) return exitCode === 0 ? 0 : exitCodes.CONFIG
  const fault = systemFaults[typeof code === 'number' ? (systemNumbers[code] ?? '') : (code ?? '')]
  if (fault !== undefined) {
    say(`mtmi: ${message ?? code}. ${fault.advice}\n`)
    return fault.status
  }
  say(`mtmi: this is a bug, please report it\n${error instanceof Error ? error.stack : String(error)}\n`)
  return bugStatus
}
