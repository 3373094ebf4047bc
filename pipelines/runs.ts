// Which run a command means, and how a run begins. The rules are in docs/operations.md, "Runs".

import { existsSync, readdirSync, rmdirSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'
import type { Config } from '../src/core/config/config.ts'
import { ConfigError } from '../src/core/errors.ts'
import type { ProcessLock } from '../src/core/processLock.ts'
import { RunDirectory, type RunOrigin } from '../src/core/runDirectory.ts'
import { note } from '../src/core/terminal.ts'

/** The run that stages begin where none is named. */
const stagesRun = 'live'

/** What chooses the run: the configuration's data folder, its `run`, and where the log is. */
type Choice = Pick<Config, 'dataDir' | 'run' | 'log'>

/** Every run of the data folder, the one used last first. A folder that no start completed is none. */
function listRuns(dataDir: string): RunDirectory[] {
  if (!existsSync(dataDir)) return []
  return readdirSync(dataDir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => new RunDirectory(dataDir, name))
    .filter((run) => run.origin() !== undefined)
    .sort((a, b) => usedAtMs(b) - usedAtMs(a))
}

/**
 * For commands that only read: the named run, or the only one, or, of several, the one used last; which one it is is
 * then said on standard error.
 * @throws ConfigError if the named run does not exist
 */
export function runToRead(config: Choice): RunDirectory {
  // On Kafka the log and the index may well be elsewhere, and a command may be used where no stage ever ran.
  if (config.run !== null)
    return config.log === 'kafka' ? new RunDirectory(config.dataDir, config.run) : existing(config, config.run)
  const [newest, ...others] = listRuns(config.dataDir)
  if (newest === undefined) return new RunDirectory(config.dataDir, stagesRun)
  if (others.length > 0)
    note(`run ${newest.name}, the one used last; --run chooses another: ${others.map(({ name }) => name).join(', ')}`)
  return newest
}

/**
 * For commands that change or erase something: the named run, or the only one. Which one it is is said on standard
 * error.
 * @throws ConfigError if there are several and none is named, or if it does not exist
 */
export function runToChange(config: Choice): RunDirectory {
  const runs = listRuns(config.dataDir)
  if (config.run === null && runs.length > 1) throw ambiguous(config.dataDir, runs, `there are ${runs.length} runs`)
  const run = existing(config, config.run ?? runs[0]?.name)
  note(`run ${run.name} in ${path.resolve(config.dataDir)}`)
  return run
}

/**
 * For stages, and for what fills their log: the named run; otherwise the one that stages with this configuration file
 * began; otherwise the only one of stages, if it was begun without a configuration file; otherwise, in a data folder without
 * runs, `live`. Never a run that `start` or another configuration began: its state is of other data.
 * @param configFile absolute; null: there is none
 * @throws ConfigError if that does not decide
 */
export function runToBegin(config: Choice, configFile: string | null): RunDirectory {
  if (config.run !== null) return new RunDirectory(config.dataDir, config.run)
  const runs = listRuns(config.dataDir)
  const own = runs.filter((run) => run.origin()?.configFile === configFile)
  if (own.length === 1) return own[0]!
  const ofStages = runs.filter((run) => run.origin()?.configFile !== undefined)
  if (ofStages.length === 1 && ofStages[0]!.origin()?.configFile === null) return ofStages[0]!
  if (runs.length === 0) return new RunDirectory(config.dataDir, stagesRun)
  const by = configFile === null ? 'stages without a configuration file' : `stages with ${configFile}`
  const begins = new Set(runs.map(({ name }) => name)).has(stagesRun) ? 'another name' : stagesRun
  throw ambiguous(
    config.dataDir,
    own.length > 1 ? own : runs,
    own.length > 1 ? `${by} began ${own.length} runs` : `${by} began no run yet, and others are there`,
    `\nA new one begins with a name of its own, such as --run ${begins === stagesRun ? stagesRun : 'NAME'}, or run: NAME in the configuration`
  )
}

/**
 * The state of a run counts records of one log: with another one, records would be skipped or read twice.
 *
 * @throws ConfigError if the run was begun on the embedded log and the configuration names Kafka
 */
export function checkLog({ log }: Choice, run: RunDirectory): void {
  if (log !== 'kafka' || !existsSync(run.path('log'))) return
  throw new ConfigError([
    `run ${run.name} has its events in the embedded log, and its offsets count records of that: with log: kafka begin another run, by run: NAME in the configuration or --run NAME. ` +
      `Files are loaded again and topics read from their beginning; events that were posted stay in run ${run.name}`
  ])
}

/**
 * Locks a run and works on it. What fails before `begun` was called leaves nothing behind where nothing was before.
 * @param work calls `begun` as soon as everything that may keep it from starting is open
 */
export async function beginRun<L extends ProcessLock, T>(
  run: RunDirectory,
  origin: RunOrigin,
  takeLock: () => L,
  work: (lock: L, begun: () => void) => Promise<T>
): Promise<T> {
  const missing = firstMissing(run.root)
  let hasBegun = false
  const begun = () => {
    hasBegun = true
    run.make(origin)
  }
  try {
    const lock = takeLock()
    try {
      return await work(lock, begun)
    } finally {
      lock.release()
    }
  } catch (error) {
    if (!hasBegun && missing !== undefined) removeUnbegun(run, missing)
    throw error
  }
}

function existing({ dataDir }: Choice, name: string | undefined): RunDirectory {
  const root = path.resolve(dataDir)
  const runs = listRuns(dataDir).map((run) => run.name)
  if (name === undefined)
    throw new ConfigError([
      `there is no run in ${root}: \`mtmi start\`, \`mtmi replay --data PATH\` or \`mtmi up\` begins one, or choose another --data-dir`
    ])
  if (runs.includes(name)) return new RunDirectory(dataDir, name)
  throw new ConfigError([
    `there is no run ${name} in ${root}${runs.length === 0 ? '' : `; there are ${runs.join(', ')}: choose with --run`}`
  ])
}

function ambiguous(dataDir: string, runs: readonly RunDirectory[], what: string, after = ''): ConfigError {
  const command = ['mtmi', ...process.argv.slice(2)].map(quoted).join(' ')
  const lines = runs.map((run) => `\n    ${command} --run ${quoted(run.name)}    # ${describe(run)}`)
  return new ConfigError([`${what} in ${path.resolve(dataDir)}. Say which one is meant:${lines.join('')}${after}`])
}

function describe(run: RunDirectory): string {
  const origin = run.origin() ?? {}
  const from =
    origin.data !== undefined
      ? `data set ${origin.data}`
      : origin.simulation !== undefined
        ? 'simulation'
        : `stages ${origin.configFile == null ? 'without a configuration file' : `with ${origin.configFile}`}`
  const users = run.users()
  return `${from}, ${users.length === 0 ? `used ${new Date(usedAtMs(run)).toISOString().slice(0, 16).replace('T', ' ')}` : `in use by ${users.join(' and ')}`}`
}

/** When a process last took or released one of the run's locks. Unix milliseconds. */
function usedAtMs(run: RunDirectory): number {
  const changed = (...parts: string[]) => statSync(run.path(...parts), { throwIfNoEntry: false })?.mtimeMs ?? 0
  return Math.max(changed('locks'), changed('source.json'))
}

function firstMissing(folder: string): string | undefined {
  if (existsSync(folder)) return undefined
  return firstMissing(path.dirname(folder)) ?? folder
}

/** A run that another process has begun to use meanwhile stays. */
function removeUnbegun(run: RunDirectory, missing: string): void {
  if (!existsSync(run.root)) return
  let lock: ProcessLock
  try {
    lock = run.lockAlone('mtmi')
  } catch {
    return // another process is changing its files
  }
  const isUsed = run.users().length > 1 || run.origin() !== undefined
  if (!isUsed) rmSync(run.root, { recursive: true })
  lock.release()
  if (isUsed) return
  for (let folder = path.dirname(run.root); folder.length >= missing.length; folder = path.dirname(folder)) {
    if (readdirSync(folder).length > 0) return
    rmdirSync(folder)
  }
}

/** As a shell reads it back. */
export function quoted(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}
