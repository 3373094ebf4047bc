// Processes that are started, and killed or left to end.

import { spawn } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..')

/** One thread, and kernels whose sums do not depend on it: what makes weights repeatable to the bit. */
const oneThread = {
  TF_NUM_INTRAOP_THREADS: '1',
  TF_NUM_INTEROP_THREADS: '1',
  OMP_NUM_THREADS: '1',
  TF_ENABLE_ONEDNN_OPTS: '0',
  TF_CPP_MIN_LOG_LEVEL: '1'
}

export interface Life {
  /** Whether it was killed; otherwise it ended by itself. */
  readonly killed: boolean
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface LifeOptions {
  /**
   * Kills `afterMs` after the process has said, on standard error, something that matches `when`; without `when` after
   * it was started.
   */
  readonly kill?: { readonly when?: RegExp; readonly afterMs: number }
  readonly environment?: Readonly<Record<string, string>>
  /** A process that hangs is killed after this, and counts as a failure. */
  readonly timeoutMs: number
}

/** Runs Node with these arguments until it ends one way or another. @throws Error if it hangs */
export function live(args: readonly string[], { kill, environment, timeoutMs }: LifeOptions): Promise<Life> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: root, env: { ...process.env, ...oneThread, ...environment } })
    let stdout = ''
    let stderr = ''
    let timer: NodeJS.Timeout | undefined
    let hung = false
    const arm = () => {
      if (kill !== undefined) timer ??= setTimeout(() => child.kill('SIGKILL'), kill.afterMs)
    }
    if (kill?.when === undefined) arm()
    const patience = setTimeout(() => {
      hung = true
      child.kill('SIGKILL')
    }, timeoutMs)
    child.stdout.on('data', (data: Buffer) => {
      stdout += data.toString()
    })
    child.stderr.on('data', (data: Buffer) => {
      stderr += data.toString()
      if (kill?.when?.test(stderr) === true) arm()
    })
    child.on('error', reject)
    child.on('close', (status, signal) => {
      clearTimeout(timer)
      clearTimeout(patience)
      if (hung)
        reject(new Error(`still not at its end after ${timeoutMs} ms: ${args.join(' ')}\n${stderr.slice(-2000)}`))
      else resolve({ killed: signal === 'SIGKILL', status, stdout, stderr })
    })
  })
}

/** What a life that ended by itself printed last. @throws Error with what it said if it failed */
export function resultOf<T>({ status, stdout, stderr }: Life): T {
  if (status !== 0) throw new Error(`ended with status ${status}:\n${stderr.slice(-4000)}`)
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as T
}
