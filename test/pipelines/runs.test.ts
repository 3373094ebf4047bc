// Which run a command means, and what a start that fails leaves behind.

import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { beginRun, runToBegin, runToChange, runToRead } from '../../pipelines/runs.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { RunDirectory, type RunOrigin } from '../../src/core/runDirectory.ts'
import { LoopbackServer } from '../support/loopbackServer.ts'
import { lastLine, mtmi } from '../support/mtmiProcess.ts'

const root = mkdtempSync(path.join(os.tmpdir(), 'mtmi-runs-'))
after(() => rmSync(root, { recursive: true, force: true }))
let folders = 0

/** A data folder with these runs; the later ones were used later. */
function dataFolder(runs: Readonly<Record<string, RunOrigin>>): string {
  const dataDir = path.join(root, `data-${++folders}`)
  for (const [i, [name, origin]] of Object.entries(runs).entries()) {
    const run = new RunDirectory(dataDir, name).make(origin)
    mkdirSync(run.path('locks'))
    for (const file of ['source.json', 'locks']) utimesSync(run.path(file), 1_700_000_000 + i, 1_700_000_000 + i)
  }
  mkdirSync(path.join(dataDir, 'lost+found'), { recursive: true }) // no run: nothing began there
  return dataDir
}

const simulation: RunOrigin = { simulation: { seed: 1 } }
const dataset: RunOrigin = { data: '/sets/ml-100k' }
const stages = (configFile: string | null): RunOrigin => ({ configFile })
const choice = (dataDir: string, run?: string) => resolveConfig({ dataDir, ...(run === undefined ? {} : { run }) }, {})

/** The name, or the message; and what was said on standard error. */
function chosen(choose: () => RunDirectory): { name: string; said: string } {
  const own = process.stderr.write.bind(process.stderr)
  let said = ''
  process.stderr.write = (text: string | Uint8Array) => {
    said += String(text)
    return true
  }
  try {
    return { name: choose().name, said }
  } catch (error) {
    return { name: `refused: ${(error as Error).message}`, said }
  } finally {
    process.stderr.write = own
  }
}

test('a command that changes or erases something takes the only run or the named one, names it, and never guesses among several', () => {
  const one = dataFolder({ shop: stages(null) })
  assert.deepEqual(
    chosen(() => runToChange(choice(one))),
    { name: 'shop', said: `run shop in ${one}\n` }
  )
  const two = dataFolder({ simulation, 'ml-100k': dataset })
  const refused = chosen(() => runToChange(choice(two))).name
  assert.match(refused, /^refused: there are 2 runs in .*Say which one is meant:/)
  assert.match(
    refused,
    /\n {4}mtmi .*--run ml-100k {4}# data set \/sets\/ml-100k, used 2023-11-14 22:13\n {4}mtmi .*--run simulation {4}# simulation, used/
  )
  assert.equal(chosen(() => runToChange(choice(two, 'simulation'))).name, 'simulation')
  assert.match(
    chosen(() => runToChange(choice(two, 'simulatoin'))).name,
    /^refused: there is no run simulatoin in .*there are ml-100k, simulation/
  )
  assert.match(chosen(() => runToChange(choice(dataFolder({})))).name, /^refused: there is no run in /)
})

test('a command that only reads takes the run used last, and says which one where there are several', () => {
  const two = dataFolder({ simulation, 'ml-100k': dataset })
  assert.deepEqual(
    chosen(() => runToRead(choice(two))),
    {
      name: 'ml-100k',
      said: 'run ml-100k, the one used last; --run chooses another: simulation\n'
    }
  )
  const run = new RunDirectory(two, 'simulation')
  run.lock('a test', []).release()
  assert.equal(chosen(() => runToRead(choice(two))).name, 'simulation')
  assert.deepEqual(
    chosen(() => runToRead(choice(two, 'ml-100k'))),
    { name: 'ml-100k', said: '' }
  )
  assert.match(chosen(() => runToRead(choice(two, 'other'))).name, /^refused: there is no run other/)
  assert.deepEqual(
    chosen(() => runToRead(choice(dataFolder({ shop: stages(null) })))),
    { name: 'shop', said: '' }
  )
})

test('stages never work in a run that `start` or another configuration began, unless it is named', () => {
  const [a, b] = ['/etc/a.yaml', '/etc/b.yaml']
  const begin = (dataDir: string, file: string | null, run?: string) =>
    chosen(() => runToBegin(choice(dataDir, run), file)).name
  assert.equal(begin(dataFolder({}), null), 'live')
  assert.equal(begin(dataFolder({ live: stages(a) }), a), 'live')
  assert.equal(begin(dataFolder({ live: stages(a), simulation }), a), 'live', 'a simulation beside it changes nothing')
  assert.match(
    begin(dataFolder({ simulation }), a),
    /^refused: stages with \/etc\/a\.yaml began no run yet, and others are there .*--run live/s
  )
  const tried = dataFolder({ live: stages(null), simulation })
  assert.equal(begin(tried, a), 'live', 'the first configuration file takes over what was tried without one')
  assert.deepEqual(new RunDirectory(tried, 'live').make(stages(a)).origin(), stages(a))
  assert.match(begin(tried, b), /^refused: stages with \/etc\/b\.yaml began no run yet/)
  assert.match(begin(tried, null), /^refused: stages without a configuration file began no run yet/)
  const other = begin(dataFolder({ live: stages(a) }), b)
  assert.match(
    other,
    /^refused: stages with \/etc\/b\.yaml began no run yet, and others are there .*stages with \/etc\/a\.yaml.*--run NAME/s
  )
  const shared = dataFolder({ shopA: stages(a), shopB: stages(b) })
  assert.deepEqual([begin(shared, a), begin(shared, b), begin(shared, null, 'shopC')], ['shopA', 'shopB', 'shopC'])
  assert.match(
    begin(dataFolder({ one: stages(a), two: stages(a) }), a),
    /^refused: stages with \/etc\/a\.yaml began 2 runs/
  )
  assert.equal(begin(dataFolder({ simulation }), null, 'simulation'), 'simulation')
})

test('a start that fails leaves nothing behind; what began before, or is used by another process, stays', async () => {
  const dataDir = path.join(root, 'not-there', 'data')
  const run = new RunDirectory(dataDir, 'shop')
  const fails = (begins: boolean, meanwhile = () => {}) =>
    beginRun(
      run,
      stages(null),
      () => run.lock('a test', ['train']),
      async (_lock, begun) => {
        writeFileSync(run.path('half-made'), '')
        if (begins) begun()
        meanwhile()
        throw new Error('no room')
      }
    )
  await assert.rejects(fails(false), /no room/)
  assert.equal(existsSync(path.join(root, 'not-there')), false, 'nor the folders above it')
  let held: { release(): void } | undefined
  await assert.rejects(
    fails(false, () => {
      // Another process, as its lock says: pid 1 is always there.
      const lock = path.join(run.root, 'locks', 'sequence.lock')
      writeFileSync(
        lock,
        JSON.stringify({ pid: 1, started: null, host: os.hostname(), what: 'mtmi sequence', sinceMs: 0 })
      )
      held = { release: () => rmSync(lock) }
    }),
    /no room/
  )
  assert.equal(existsSync(run.path('half-made')), true)
  held?.release()
  await assert.rejects(fails(true), /no room/)
  assert.deepEqual(run.origin(), stages(null))
  await assert.rejects(fails(false), /no room/)
  assert.equal(existsSync(run.root), true)
})

test('a port that is taken, data that is not there, a registry that is away: the command ends before any work, and makes no folder', async () => {
  const cwd = mkdtempSync(path.join(root, 'cwd-'))
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => taken.once('listening', resolve))
  const port = String((taken.address() as { port: number }).port)
  const noRegistry = new LoopbackServer((_, response) => response.writeHead(404).end())
  await noRegistry.start()
  try {
    for (const [args, status, message] of [
      [['start', '--events', '500', '--port', port], 1, /port \d+ of 127\.0\.0\.1 is taken/],
      [['serve', '--port', port], 1, /serve\.port/],
      [['sequence', '--once', '--set', `ops.port=${port}`], 1, /ops\.port/],
      [['replay', '--data', 'nowhere.csv'], 78, /nowhere\.csv/],
      [['serve', '--port', '0', '--set', 'serve.host=0.0.0.0'], 78, /there is no token/],
      [['sequence', '--once', '--set', `registry.url=${noRegistry.url}`], 78, /not how a schema registry answers/]
    ] as const) {
      const ended = await mtmi([...args], { cwd })
      assert.equal(ended.status, status, `${args.join(' ')}: ${ended.stderr}`)
      assert.match(ended.stderr, message)
      assert.deepEqual(readdirSync(cwd), [], args.join(' '))
    }
  } finally {
    taken.close()
    await noRegistry.stop()
  }
})

test('npm start, a data set, then queries: each names its run, and an erasure without one is refused', async () => {
  const cwd = mkdtempSync(path.join(root, 'cwd-'))
  const rows = Array.from({ length: 900 }, (_, i) => `u${i % 30},i${(i * 7 + (i >> 5)) % 90},${1_700_000_000 + i * 60}`)
  writeFileSync(path.join(cwd, 'clicks.csv'), `user,item,time\n${rows.join('\n')}\n`)
  const data = ['--data', 'clicks.csv', '--columns', 'user=user,item=item,time=time,unit=s']
  assert.equal((await mtmi(['start', '--events', '500', '--once'], { cwd })).status, 0)
  const replayed = await mtmi(['replay', ...data, '--once'], { cwd })
  assert.equal(replayed.status, 0, replayed.stderr)

  const list = await mtmi(['recommend', '--user', 'u1', '--json'], { cwd })
  assert.match(list.stderr, /^run clicks\.csv, the one used last; --run chooses another: simulation-500\n/)
  assert.match((lastLine(list.stdout).items as { itemId: string }[])[0]!.itemId, /^i\d+$/)
  const other = await mtmi(['recommend', '--user', 'u1', '--run', 'simulation-500'], { cwd })
  assert.equal(other.status, 0, other.stderr)
  assert.equal(other.stderr.includes('run clicks.csv'), false)

  const unnamed = await mtmi(['erase', '--user', 'u 1'], { cwd })
  assert.equal(unnamed.status, 78)
  assert.match(unnamed.stderr, /\n {4}mtmi erase --user 'u 1' --run simulation-500 {4}# simulation, used/)
  const named = await mtmi(['erase', '--user', 'u1', '--run', 'clicks.csv', '--json'], { cwd })
  assert.equal(named.status, 0, named.stderr)
  assert.equal(lastLine(named.stdout).run, 'clicks.csv')
  const staged = await mtmi(['sequence', '--once'], { cwd })
  assert.equal(staged.status, 78)
  assert.match(staged.stderr, /stages without a configuration file began no run yet/)
  assert.deepEqual(readdirSync(path.join(cwd, 'data')).sort(), ['clicks.csv', 'simulation-500'])
})
