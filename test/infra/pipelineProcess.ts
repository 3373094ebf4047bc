// The program itself, as its users start it, in a data folder that goes away.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

export class MtmiProcess {
  readonly child: ChildProcess
  readonly #ended: Promise<unknown>
  output = ''

  constructor(dataDir: string, args: readonly string[], variables: Readonly<Record<string, string>> = {}) {
    this.child = spawn(process.execPath, ['infra/mtmi.mjs', '--data-dir', dataDir, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...variables }
    })
    this.#ended = once(this.child, 'exit')
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', (text: Buffer) => {
        this.output += text.toString()
      })
  }

  get alive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  /** @throws Error with what it said if it does not end well */
  async end(): Promise<string> {
    await this.#ended
    if (this.child.exitCode !== 0)
      throw new Error(`mtmi ended with ${this.child.exitCode ?? this.child.signalCode}:\n${this.output}`)
    return this.output
  }

  async stop(): Promise<void> {
    if (!this.alive) return
    this.child.kill('SIGCONT')
    this.child.kill('SIGTERM')
    await this.#ended
  }
}

export async function withDataDir<T>(use: (dataDir: string) => Promise<T>): Promise<T> {
  const dataDir = mkdtempSync(path.join(os.tmpdir(), 'mtmi-infra-'))
  try {
    return await use(dataDir)
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
  }
}
