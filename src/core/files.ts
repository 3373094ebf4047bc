// Folders and whole files on disk.

import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { explained } from './diskFault.ts'
import { ConfigError, MtmiError } from './errors.ts'

/** The calls that write, so that a test can let each of them fail. */
export interface Disk {
  open(file: string, flags: string): number
  write(descriptor: number, content: string): void
  sync(descriptor: number): void
  close(descriptor: number): void
  rename(from: string, to: string): void
}

const realDisk: Disk = {
  open: openSync,
  write: (descriptor, content) => writeFileSync(descriptor, content),
  sync: fsyncSync,
  close: closeSync,
  rename: renameSync
}

/**
 * @throws ConfigError if it cannot be made; UnavailableError if there is no room. Step by step: Node's own recursive
 *   way never returns in folders such as /proc.
 */
export function makeFolder(folder: string): void {
  if (existsSync(folder)) return
  makeFolder(path.dirname(folder))
  try {
    mkdirSync(folder)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const parent = path.dirname(folder)
    if (code === 'EEXIST') return // another process was as fast
    const fault = explained(error, folder)
    if (fault instanceof MtmiError && fault.code === 'UNAVAILABLE') throw fault
    const advice = code === 'ENOTDIR' ? `${parent} is a file: remove it` : `correct the permissions of ${parent}`
    throw new ConfigError([`folder ${folder} cannot be made: ${message}; ${advice}, or choose another --data-dir`])
  }
}

/**
 * Whole or not at all, also after a power loss: under another name, synced, renamed, and the folder synced. Makes the
 * folder.
 *
 * @throws UnavailableError if there is no room; ConfigError if it cannot be written
 */
export function writeFileAtomically(file: string, content: string, disk: Disk = realDisk): void {
  const temporary = `${file}.${process.pid}.tmp`
  const folder = path.dirname(file)
  try {
    makeFolder(folder)
    withDescriptor(disk, temporary, 'w', (descriptor) => {
      disk.write(descriptor, content)
      disk.sync(descriptor)
    })
    disk.rename(temporary, file)
    withDescriptor(disk, folder, 'r', (descriptor) => disk.sync(descriptor))
  } catch (error) {
    rmSync(temporary, { force: true })
    throw explained(error, folder)
  }
}

/** Makes a file durable, or the entries of a folder. */
export function syncPath(file: string): void {
  withDescriptor(realDisk, file, 'r', fsyncSync)
}

function withDescriptor(disk: Disk, file: string, flags: string, use: (descriptor: number) => void): void {
  const descriptor = disk.open(file, flags)
  try {
    use(descriptor)
  } finally {
    disk.close(descriptor)
  }
}
