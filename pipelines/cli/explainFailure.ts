// What a command that failed says, and which status it ends with.

import { diskFault, systemCode } from '../../src/core/diskFault.ts'
import { exitCodes, MtmiError } from '../../src/core/errors.ts'
import { own } from '../../src/core/own.ts'
import { note } from '../../src/core/terminal.ts'

/** EX_SOFTWARE of sysexits(3): a bug of ours. */
const bugStatus = 70

/** Errors of the operating system that are not about the disk (`diskFault` knows those): what to do, and the status. */
const systemFaults: Readonly<Record<string, { advice: string; status: number }>> = {
  ENOTDIR: { advice: 'A file stands where a folder is needed: choose another --data-dir', status: exitCodes.CONFIG },
  EISDIR: { advice: 'A folder stands where a file is needed', status: exitCodes.CONFIG },
  ENOENT: { advice: 'It was there when this began, or should have been', status: exitCodes.UNAVAILABLE },
  EMFILE: { advice: 'Too many files are open: raise `ulimit -n`', status: exitCodes.UNAVAILABLE },
  ENOMEM: { advice: 'Memory is used up', status: exitCodes.UNAVAILABLE }
}

/**
 * Says on standard error what went wrong.
 *
 * @param dataDir where the command works, for errors that name no file
 * @returns the exit status
 */
export function explainFailure(error: unknown, say: (text: string) => void = note, dataDir = process.cwd()): number {
  const known = diskFault(error, dataDir) ?? error
  if (known instanceof MtmiError) {
    say(`mtmi: ${known.message}`)
    return exitCodes[known.code]
  }
  const { code, exitCode, message } = (error ?? {}) as { code?: string | number; exitCode?: number; message?: string }
  // commander has said it already.
  if (typeof code === 'string' && code.startsWith('commander.')) return exitCode === 0 ? 0 : exitCodes.CONFIG
  const fault = own(systemFaults, systemCode(error) ?? '')
  if (fault !== undefined) {
    say(`mtmi: ${message ?? code}. ${fault.advice}`)
    return fault.status
  }
  say(`mtmi: this is a bug, please report it\n${error instanceof Error ? error.stack : String(error)}`)
  return bugStatus
}
