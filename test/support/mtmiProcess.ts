// The `mtmi` command as its users meet it: a process of its own.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

const launcher = path.resolve(import.meta.dirname, '../../infra/mtmi.mjs')

export interface Finished {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface ProcessOptions {
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
  /** The program that runs it; default: the Node of the test. */
  readonly node?: string
}

/** Runs a command to its end. */
export async function mtmi(args: readonly string[], options: ProcessOptions): Promise<Finished> {
  const process = new MtmiProcess(args, options)
  return process.ended
}

/** What `--json` printed: the last line of standard output, and nothing else there. */
export function lastLine(stdout: string): Record<string, unknown> {
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Record<string, unknown>
}

/** A command that goes on until it is told to end. */
export class MtmiProcess {
  readonly #child: ChildProcess
  #stdout = ''
  #stderr = ''
  readonly ended: Promise<Finished>

  constructor(args: readonly string[], { cwd, env = {}, node = globalThis.process.execPath }: ProcessOptions) {
    const inherited = Object.entries(globalThis.process.env).filter(([name]) => !name.startsWith('MTMI_'))
    this.#child = spawn(node, [launcher, ...args], {
      cwd,
      env: { ...Object.fromEntries(inherited), ...env },
      stdio: ['ignore', 'pipe', 'pipe']
    })
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text
    })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text
    })
    this.ended = once(this.#child, 'close').then(([status]) => ({
      status: status as number | null,
      stdout: this.#stdout,
      stderr: this.#stderr
    }))
  }

  /** Resolves with the match as soon as standard error has it. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.#stderr)
      if (match !== null) return match
      const more = await Promise.race([
        once(this.#child.stderr!, 'data').then(() => true),
        this.ended.then(() => false)
      ])
      if (!more && !pattern.test(this.#stderr))
        throw new Error(`mtmi ended without saying ${pattern}; it said:\n${this.#stderr}`)
    }
  }

  /** Resolves when a file has more bytes: how far work is, whatever the speed of the machine. */
  async hasWritten(file: string, bytes: number): Promise<void> {
    let hasEnded = false
    void this.ended.then(() => {
      hasEnded = true
    })
    while ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) <= bytes) {
      if (hasEnded) throw new Error(`mtmi ended before ${file} had ${bytes} bytes; it said:\n${this.#stderr}`)
      await pause(5)
    }
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** Without waiting for what comes of it. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  async stop(signal: NodeJS.Signals): Promise<Finished> {
    this.#child.kill(signal)
    return this.ended
  }
}
