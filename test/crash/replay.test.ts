// Crash anywhere, same result: processes are killed again and again while they learn from a stream, and what they leave
// is compared with an undisturbed run.
//
//   CRASH_SEED    first seed (default 1); a failure names the seed that repeats it
//   CRASH_ROUNDS  seeds to try, each with another stream and other settings (default 1); each kills once at every place
//   CRASH_EVENTS  events of a stream (default 1500)
//
// Compared are: histories byte for byte, the set of examples trained on (each once), the counts of the report, and the
// last checkpoint (weights, rows, optimizer state and all) bit for bit with one that was learned in one go by the same
// boundaries of batches.

import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, test } from 'node:test'
import { type AccountNumbers, accountText, unaccounted } from '../../src/core/account.ts'
import { Rng } from '../../src/core/rng.ts'
import { resolveWithLimits, settingsAlone } from '../support/limits.ts'
import type { ChildReport, ChildTask } from './child.ts'
import { type KillPoint, type Place, places } from './killPoint.ts'
import { live, resultOf, root } from './lives.ts'
import { checkpointsIn, differenceOf, historiesOf, newestCheckpoint, trainedOf } from './outcome.ts'
import { type Scenario, scenarioOf, streamOf } from './scenario.ts'

const firstSeed = Number(process.env.CRASH_SEED ?? 1)
const rounds = Number(process.env.CRASH_ROUNDS ?? 1)
const events = Number(process.env.CRASH_EVENTS ?? 1500)
/** Of one process: fifty times what it takes on a machine that does nothing else. */
const timeoutMs = 300_000
/** These happen once in the life of the data … */
const once: readonly Place[] = ['items', 'modelVersion', 'promote']
/** … and these more than once in every life. */
const often: ReadonlySet<Place> = new Set<Place>(['sequences', 'ledger', 'trained', 'updates', 'part', 'upsert'])
/** In a row without one that comes to its end: then something has stopped getting on. */
const livesMax = 200

// Each process has one busy thread, or two that take turns.
describe('crash anywhere, same result', { concurrency: 2 }, () => {
  for (let seed = firstSeed; seed < firstSeed + rounds; seed++) {
    const scenario = scenarioOf(seed, events)
    const again = `repeat with CRASH_SEED=${seed} CRASH_ROUNDS=1 CRASH_EVENTS=${events} npm run test:crash`
    test(`seed ${seed}: killed at every boundary`, () => saying(again, () => atEveryBoundary(scenario)))
    test(`seed ${seed}: killed at random moments, mtmi start`, () =>
      saying(again, () => atRandomMoments(scenario, 'start')))
    test(`seed ${seed}: killed at random moments, mtmi replay`, () =>
      saying(again, () => atRandomMoments(scenario, 'replay')))
  }
})

// ---------------------------------------------------------------------------------------------------------------------

/** At every place, in an order and in ways drawn by the seed, one life after the other on the same data. */
async function atEveryBoundary(scenario: Scenario): Promise<string> {
  return withFolder(async (folder) => {
    const task = (name: string, more: Partial<ChildTask> = {}): string[] => {
      const whole: ChildTask = { directory: path.join(folder, name), scenario, ...more }
      return ['--import', 'tsx', path.join(root, 'test', 'crash', 'child.ts'), JSON.stringify(whole)]
    }
    const undisturbed = resultOf<ChildReport>(await live(task('undisturbed'), { timeoutMs }))

    const order = killPoints(new Rng(scenario.seed).fork('kill points'))
    const missed: string[] = []
    // A place that a life did not come to, because nothing was late or nothing was to be learned again, has a second
    // one.
    const queue = order.map((kill) => ({ kill, isSecond: false }))
    for (const [lives, { kill, isSecond }] of queue.entries()) {
      const feedTo = Math.ceil(scenario.events * Math.min(1, (lives + 1) / (1.25 * order.length)))
      const life = await live(task('disturbed', { kill, feedTo }), { timeoutMs })
      if (life.killed) continue
      resultOf(life)
      if (isSecond) missed.push(`${kill.when} ${kill.place}`)
      else queue.push({ kill: { ...kill, nth: 1 }, isSecond: true })
    }
    assert.ok(
      missed.length < order.length / 3,
      `the points are not where they were thought: not reached ${missed.join(', ')}`
    )
    const disturbed = resultOf<ChildReport>(await live(task('disturbed'), { timeoutMs }))
    await compare(
      scenario,
      path.join(folder, 'disturbed', 'run'),
      path.join(folder, 'undisturbed', 'run'),
      'trained.tsv'
    )
    for (const { accounts } of [disturbed, undisturbed])
      for (const account of accounts) assert.equal(unaccounted(account), 0, accountText(account))
    assert.deepEqual(counts(disturbed), counts(undisturbed))

    for (const name of ['undisturbed', 'disturbed']) {
      const run = path.join(folder, name, 'run')
      mkdirSync(path.join(run, 'relearned'))
      cpSync(path.join(run, 'checkpoints', 'all-batches.ledger'), path.join(run, 'relearned', 'batches.ledger'))
      resultOf(await live(task(name, { relearn: true }), { timeoutMs }))
      await sameCheckpoint(scenario, path.join(run, 'checkpoints'), path.join(run, 'relearned'))
    }
    return `seed ${scenario.seed}: ${order.length - missed.length} kills${missed.length === 0 ? '' : `, not reached: ${missed.join(', ')}`}; ${disturbed.batches} batches`
  })
}

/** Each place once, in a way that the seed draws: as many seeds, as many kills at each. */
function killPoints(rng: Rng): KillPoint[] {
  const ways = ['before', 'during', 'after'] as const
  const point = (place: Place): KillPoint => ({
    place,
    when: ways[rng.integer(3)]!,
    nth: often.has(place) ? 1 + rng.integer(3) : 1,
    turns: rng.integer(4)
  })
  return [...once.map(point), ...shuffled(places.filter((place) => !once.includes(place)).map(point), rng)]
}

/** The command itself, with its threads, killed by the clock. */
async function atRandomMoments(scenario: Scenario, verb: 'start' | 'replay'): Promise<string> {
  return withFolder(async (folder) => {
    const file = path.join(folder, 'clicks.jsonl')
    if (verb === 'replay') writeClicks(file, scenario)
    const settings = path.join(folder, 'mtmi.json') // JSON is YAML
    const train = { ...(scenario.settings.train as object), checkpointKeep: 1000 }
    writeFileSync(settings, JSON.stringify(settingsAlone({ ...scenario.settings, train })))
    const life = (name: string, kill?: { when?: RegExp; afterMs: number }) =>
      live(
        [
          ...[path.join(root, 'infra', 'mtmi.mjs'), '--config', settings, '--data-dir', path.join(folder, name), verb],
          ...(verb === 'replay' ? ['--data', file] : ['--events', String(scenario.events)]),
          ...['--once', '--json']
        ],
        {
          timeoutMs,
          environment: { MTMI_TRAIN_AUDIT_FILE: path.join(folder, `${name}.tsv`) },
          ...(kill === undefined ? {} : { kill })
        }
      )
    const startedMs = Date.now()
    const undisturbed = resultOf<CliReport>(await life('undisturbed'))
    const wholeMs = Date.now() - startedMs

    const rng = new Rng(scenario.seed).fork(`moments of ${verb}`)
    let disturbed: CliReport | undefined
    let kills = 0
    for (; disturbed === undefined; kills++) {
      assert.ok(kills < livesMax, `not at its end after ${kills} lives`)
      // Mostly while it works, now and then while it starts. Ever later, so that it comes to its end.
      const starting = rng.uniform() < 0.15
      const afterMs = (starting ? 0.3 : 0.04 * (kills + 4)) * rng.uniform() * wholeMs
      const each = await life('disturbed', starting ? { afterMs } : { when: /state in/, afterMs })
      if (!each.killed) disturbed = resultOf<CliReport>(each)
    }
    const run = (name: string) =>
      path.join(folder, name, verb === 'replay' ? path.basename(file) : `simulation-${scenario.events}`)
    await compare(scenario, run('disturbed'), run('undisturbed'), path.join('..', '..'))
    const results = ({ interactions, items, accounts: { sequence, train } }: CliReport) => ({
      ...{ interactions, items, sequence, train: taught(train!) }
    })
    assert.deepEqual(results(disturbed), results(undisturbed))

    // From the earliest checkpoint on, by the ledger, without a kill.
    cpSync(path.join(folder, 'disturbed'), path.join(folder, 'relearned'), { recursive: true })
    const checkpoints = path.join(run('relearned'), 'checkpoints')
    for (const name of checkpointsIn(checkpoints).slice(1)) rmSync(path.join(checkpoints, name))
    resultOf(await life('relearned'))
    await sameCheckpoint(scenario, path.join(run('disturbed'), 'checkpoints'), checkpoints)
    return `${kills - 1} kills`
  })
}

interface CliReport {
  readonly interactions: number
  readonly users: number
  readonly items: number
  readonly accounts: Readonly<Record<string, Readonly<Record<string, number>>>>
  readonly examplesTrained: number
}

/**
 * What a kill must not change of the trainer's account. Steps that a restarted sequencer emits again are read and left
 * out; and batches have other boundaries, so that an item has its row a batch sooner or later: which examples had rows
 * to learn from may differ, how many there were may not.
 */
function taught({ trained = 0, unknownItem = 0, unknownHistory = 0, ...outcomes }: Readonly<Record<string, number>>) {
  return { ...outcomes, read: 0, repeated: 0, examples: trained + unknownItem + unknownHistory }
}

/** What became of every event and of every new step, wherever a process was killed. */
function counts({ accounts }: ChildReport) {
  const [sequence, train] = accounts as [AccountNumbers<'sequence'>, AccountNumbers<'train'>]
  return { sequence, train: taught(train.outcomes) }
}

async function compare(scenario: Scenario, disturbed: string, undisturbed: string, audit: string): Promise<void> {
  const { idleMaxMs } = resolveWithLimits(scenario.settings).sequence
  const auditOf = (run: string) =>
    audit === 'trained.tsv' ? path.join(run, audit) : path.join(run, audit, `${path.basename(path.dirname(run))}.tsv`)
  const [actual, expected] = [await historiesOf(disturbed, idleMaxMs), await historiesOf(undisturbed, idleMaxMs)]
  assert.ok(expected.size > 0, 'nobody has a history')
  assert.deepEqual([...actual.keys()], [...expected.keys()], `users: ${differenceOf(actual.keys(), expected.keys())}`)
  for (const [user, bytes] of expected) assert.ok(actual.get(user) === bytes, `the history of ${user} differs`)
  const [learned, should] = [trainedOf(auditOf(disturbed)), trainedOf(auditOf(undisturbed))]
  assert.ok(should.length > 0, 'nothing was trained on')
  assert.deepEqual(learned, should, `examples trained on: ${differenceOf(learned, should)}`)
}

async function sameCheckpoint({ settings }: Scenario, actual: string, expected: string): Promise<void> {
  const [a, b] = [await newestCheckpoint(actual, settings), await newestCheckpoint(expected, settings)]
  assert.equal(a.name, b.name, 'learned again, the run has another number of batches')
  assert.deepEqual(a.header, b.header, `${a.name}: learned again by the same boundaries, its header differs`)
  assert.deepEqual([...a.arrays.keys()].sort(), [...b.arrays.keys()].sort())
  for (const [array, bytes] of a.arrays)
    assert.ok(bytes.equals(b.arrays.get(array)!), `${a.name}: learned again by the same boundaries, ${array} differs`)
}

/** The stream as a file of JSON lines, with lines that are none. */
function writeClicks(file: string, scenario: Scenario): void {
  const lines: string[] = []
  for (const { userId, itemId, type, eventTimeMs, eventId } of streamOf(scenario).interactions()) {
    lines.push(JSON.stringify({ eventId, userId, itemId, type, eventTimeMs }))
    if (lines.length % 97 === 0) lines.push('{"userId": "half a li')
  }
  writeFileSync(file, `${lines.join('\n')}\n`)
}

function shuffled<T>(values: readonly T[], rng: Rng): T[] {
  const shuffled = [...values]
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = rng.integer(i + 1)
    ;[shuffled[i], shuffled[j]] = [shuffled[j]!, shuffled[i]!]
  }
  return shuffled
}

async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(path.join(tmpdir(), 'mtmi-crash-'))
  try {
    return await work(folder)
  } finally {
    if (process.env.CRASH_KEEP === undefined) rmSync(folder, { recursive: true, force: true })
  }
}

/** The seed is the whole bug report. */
async function saying(again: string, work: () => Promise<string>): Promise<void> {
  try {
    process.stderr.write(`# ${await work()}\n`)
  } catch (error) {
    process.stderr.write(`# ${again}\n`)
    throw error
  }
}
