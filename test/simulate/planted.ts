// Bugs that the simulator has to find. Each is a change of the product's text, made in a copy of it. Most of them were
// faults of the product once.

import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

export interface PlantedBug {
  readonly name: string
  /** The only file of this name under src. */
  readonly file: string
  readonly find: string
  readonly replace: string
  /** Found by one seed in dozens. */
  readonly isSlow?: true
  /** Why it is skipped unless it is asked for by name: no seed that was run has found it. */
  readonly notFound?: string
}

export const planted: readonly PlantedBug[] = [
  {
    name: 'the tombstone of a deleted item is dropped',
    file: 'catalogueReader.ts',
    find: '    const change = this.catalogue.apply(',
    replace:
      '    if (item === null) {\n      this.#next = offset + 1n\n      return\n    }\n    const change = this.catalogue.apply('
  },
  {
    name: 'the tombstone of an erased user is dropped',
    file: 'publisher.ts',
    find: '    this.#forgotten.set(userId, source)\n',
    replace: ''
  },
  {
    name: 'any error of the index is final',
    file: 'outage.ts',
    find: '        if (!(error instanceof MtmiError && error.canRetry)) throw error\n',
    replace: '        throw error\n'
  },
  {
    name: 'offsets are saved as published before the write',
    isSlow: true,
    file: 'publishedUsers.ts',
    find: 'const next = change < read ? change : read\n',
    replace: 'const next = read\n'
  },
  {
    name: 'a stored promise has no handler',
    notFound: 'none of the first 300 seeds finds it; eslint and test/infra/storedPromises have the rule',
    file: 'promises.ts',
    find: 'promise?.catch(() => {})',
    replace: ''
  },
  {
    name: 'another version goes live before it is complete',
    file: 'publisherVersion.ts',
    find: '        if (pending > 0) return undefined\n',
    replace:
      '        if (pending >= 0) return await this.#index.promote(name, { items, users: 0 }).then(() => undefined)\n'
  },
  {
    name: 'a promotion can never complete',
    file: 'publisherVersion.ts',
    find: 'const share = this.#limits.completeShareMin\n',
    replace: 'const share = 1 + this.#limits.completeShareMin\n'
  },
  {
    name: 'a record that cannot be decoded ends the stage',
    file: 'ownedPartition.ts',
    find: '      if (!(error instanceof BadEventError)) throw error\n',
    replace: '      throw error\n'
  },
  {
    name: 'offsets are committed before what came of them is in the log',
    file: 'ownedPartition.ts',
    find: '    if (!(await this.#drained(0))) return\n    const startedMs',
    replace: '    this.#emitted = this.#next\n    const startedMs'
  },
  {
    name: 'offsets of a source are remembered before its records are in the log',
    isSlow: true,
    file: 'ingestStage.ts',
    find: '            await this.#take(mapper, slice, badShare, letters)\n            at.next = slice.at(-1)!.offset + 1n\n',
    replace:
      '            at.next = slice.at(-1)!.offset + 1n\n            await this.#take(mapper, slice, badShare, letters)\n'
  },
  {
    name: 'a checkpoint forgets which fresh steps it has seen',
    isSlow: true,
    file: 'trainState.ts',
    find: '    this.repeats = RepeatFilter.from(state.repeats)\n',
    replace: ''
  },
  {
    name: 'batches after the checkpoint are cut again otherwise',
    file: 'trainStage.ts',
    find: '    this.#again = [...ledger.after(this.batch)]\n',
    replace: '    ledger.truncateBefore(Number.MAX_SAFE_INTEGER)\n'
  },
  {
    name: 'a checkpoint is taken before the rows that it leaves out are sent',
    isSlow: true,
    file: 'stageCheckpoints.ts',
    find: '    await this.#writer.saved()\n    await this.#context.sendUpdates()\n    const startedMs',
    replace: '    await this.#writer.saved()\n    const startedMs'
  },
  {
    name: 'whoever waits for the catalogue waits for another to end',
    isSlow: true,
    file: 'catalogueReader.ts',
    find: '    return Promise.race([this.#following.then(() => aborted), aborted])\n',
    replace: '    return this.#following\n'
  },
  {
    name: 'old windows are published before the newer ones have been read',
    isSlow: true,
    file: 'publishStage.ts',
    find: '    if (isTurn && this.#isCaughtUp) {\n',
    replace: '    if (isTurn) {\n'
  },
  {
    name: 'another version goes live without those whose change waited when it was begun',
    notFound: 'none of the first 300 seeds finds it; test/publish has a test of it',
    file: 'publisherUsers.ts',
    find: 'return this.left + this.#awaited.size',
    replace: 'return this.left'
  },
  {
    name: 'a sweep of the items ends too early while new ones come',
    notFound: 'none of the first 300 seeds finds it; test/publish has a test of it',
    file: 'publisherItems.ts',
    find: 'if (slot === this.#ids.length && this.#sweepLeft > 0) this.#sweepLeft++',
    replace: ''
  },
  {
    name: 'a log cleaned in the middle of a set of weights cannot be read',
    isSlow: true,
    file: 'modelReplica.ts',
    find: 'if (!known && !Object.keys(closed.model.shapes).every((name) => closed.weights.has(name))) {',
    replace: 'if (!known && closed.weights.size === 0) {'
  },
  {
    name: 'a new history cancels the removal of the erased one',
    notFound: 'seed 3933 found it at ca37584; no seed of today does so soon',
    file: 'publisher.ts',
    find: '    if (isEmpty(change)) this.forget(userId, source)\n',
    replace: '    this.#forgotten.delete(userId)\n    if (isEmpty(change)) this.forget(userId, source)\n'
  },
  {
    name: 'an erasure that another owner repeated is the last of a user in the topic',
    notFound: 'seed 5393 found it at 9543c0d; no seed of today does so soon',
    file: 'ownedSequences.ts',
    find: '    await emitAgain(io, store, partition, outdated)\n',
    replace: ''
  },
  {
    name: 'who could not be written is not put back',
    isSlow: true,
    file: 'publisherUsers.ts',
    find: '      else this.#wait(userId, acceptedAtMs, nowMs - this.#options.userWaitMs, source)\n',
    replace: "      else this.#endOf(acceptedAtMs, 'forgotten')\n"
  }
]

const root = path.resolve(import.meta.dirname, '../..')

/** The product and this folder. */
export function copyProduct(): string {
  const copy = mkdtempSync(path.join(os.tmpdir(), 'mtmi-planted-'))
  for (const folder of ['src', 'pipelines', 'schemas', 'test/simulate', 'test/support']) {
    mkdirSync(path.join(copy, folder), { recursive: true })
    cpSync(path.join(root, folder), path.join(copy, folder), { recursive: true })
  }
  for (const each of ['package.json', 'tsconfig.json']) cpSync(path.join(root, each), path.join(copy, each))
  symlinkSync(path.join(root, 'node_modules'), path.join(copy, 'node_modules'))
  return copy
}

/** The entries whose text is not exactly once in its file, each with what is wrong. @param root of a working tree */
export function outdatedPlanted(tree = root): string[] {
  return planted.flatMap((bug) => {
    try {
      locate(tree, bug)
      return []
    } catch (error) {
      return [(error as Error).message]
    }
  })
}

/** @returns puts the text back @throws Error as `locate` */
function plant(copy: string, bug: PlantedBug): () => void {
  const { file, text, from, to } = locate(copy, bug)
  writeFileSync(file, text.slice(0, from) + bug.replace + text.slice(to))
  return () => writeFileSync(file, text)
}

/**
 * Where the text of a planted bug is. White space does not count: a formatter may have broken the lines elsewhere.
 *
 * @throws Error if the file or the text is not there exactly once
 */
function locate(
  tree: string,
  { file, find, name }: PlantedBug
): { file: string; text: string; from: number; to: number } {
  const failed = (what: string) => new Error(`planted bug '${name}': ${what}. Correct test/simulate/planted.ts`)
  const files = readdirSync(path.join(tree, 'src'), { recursive: true, encoding: 'utf8' }).filter(
    (each) => path.basename(each) === file
  )
  if (files.length !== 1) throw failed(`${files.length} files under src are named ${file}`)
  const target = path.join(tree, 'src', files[0]!)
  const text = readFileSync(target, 'utf8')
  const positions: number[] = []
  for (let i = 0; i < text.length; i++) if (/\S/.test(text[i]!)) positions.push(i)
  const [dense, wanted] = [text.replace(/\s+/g, ''), find.replace(/\s+/g, '')]
  const times = dense.split(wanted).length - 1
  if (times !== 1) throw failed(`its text is ${times} times in ${files[0]}, not once:\n${find}`)
  const at = dense.indexOf(wanted)
  return { file: target, text, from: positions[at]!, to: positions[at + wanted.length - 1]! + 1 }
}

/**
 * @param copy as `copyProduct` made it @returns the first seed that finds the bug, and what it says; undefined: none of
 *   them does
 */
export async function findPlanted(
  copy: string,
  bug: PlantedBug,
  seeds: number
): Promise<{ seed: number; violation: string } | undefined> {
  const takeOut = plant(copy, bug)
  try {
    const output = await run(copy, [
      '--import',
      'tsx',
      'test/simulate/simulate.ts',
      '--seeds',
      String(seeds),
      '--first'
    ])
    const [, seed, violation] = /seed (\d+) violates:\n {2}(.*)/.exec(output) ?? []
    if (seed === undefined && !/ 0 failed/.test(output))
      throw new Error(`planted bug '${bug.name}': the simulator ended with\n${output}`)
    return seed === undefined ? undefined : { seed: Number(seed), violation: violation! }
  } finally {
    takeOut()
  }
}

function run(cwd: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.on('error', reject)
    child.on('close', () => resolve(output))
  })
}
