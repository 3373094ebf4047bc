// What the command line says to what cannot be, and which status it ends with: 78 for what the caller must mend, 1 for
// what may pass.
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, suite, test } from 'node:test'
import { lastLine, mtmi } from '../support/mtmiProcess.ts'

const cwd = mkdtempSync(path.join(os.tmpdir(), 'mtmi-cli-'))
after(() => rmSync(cwd, { recursive: true, force: true }))
writeFileSync(path.join(cwd, 'file'), '')
writeFileSync(path.join(cwd, 'broken.yaml'), 'train:\n  batchSize: [1\n')
writeFileSync(path.join(cwd, 'wrong.yaml'), 'train:\n  batchSze: 64\nmodel:\n  dimensions: 1\n')
mkdirSync(path.join(cwd, 'nothing'))

interface Wrong {
  readonly args: readonly string[]
  readonly says: RegExp
  readonly status?: number
  readonly env?: Readonly<Record<string, string>>
}

const wrong: readonly Wrong[] = [
  { args: ['recomend'], says: /unknown command 'recomend'\n.*Did you mean recommend\?/ },
  { args: ['recommend'], says: /required option '--user <id>' not specified/ },
  { args: ['recommend', '--user', 'u1', '--limit', '1001'], says: /--limit must be 1…1000, got 1001/ },
  {
    args: ['recommend', '--user', 'u1'],
    says: /nothing has been published in .*data.live yet: run `mtmi start`/,
    status: 1
  },
  { args: ['similar', '--item', 'i1', '--json'], says: /nothing has been published/, status: 1 },
  { args: ['evaluate'], says: /there is no report in .*: run `mtmi start`/ },
  { args: ['reset', '--yes'], says: /there is no run in .*`mtmi start`/ },
  { args: ['start', '--evnts', '5'], says: /unknown option '--evnts'\n.*Did you mean --events\?/ },
  { args: ['start', '--events', 'many'], says: /'--events <number>' argument 'many' is invalid. Give a whole number/ },
  { args: ['start', '--data', 'file'], says: /unknown option '--data'/ },
  { args: ['up'], says: /there is no mtmi\.yaml here: `mtmi init FILE` or/ },
  {
    args: ['evaluate', '--format', 'csv'],
    says: /--format, --columns, .* say how to read a data set: give it with --data/
  },
  { args: ['replay', '--data', 'file', '--types', 'view'], says: /--types: expected TYPE=WEIGHT .* found "view"/ },
  { args: ['start', '--port', '70000'], says: /serve.port: .*65535 \(given: 70000/ },
  {
    args: ['start', '--once', '--data-dir', 'file'],
    says: /folder .*file.* cannot be made: ENOTDIR.*choose another --data-dir/
  },
  { args: ['replay', '--data', 'not there', '--once'], says: /cannot read data set .*not there/ },
  { args: ['replay', '--data', 'nothing', '--once'], says: /nothing/ },
  { args: ['replay', '--data', 'file', '--format', 'excel'], says: /Allowed choices are recbole, / },
  { args: ['--config', 'not-there.yaml', 'config'], says: /configuration file .*not-there.yaml cannot be read/ },
  { args: ['--config', 'broken.yaml', 'config'], says: /broken.yaml: .*line 3/ },
  {
    args: ['--config', 'wrong.yaml', 'config'],
    says: /2 problems:\n {2}- .*(batchSze: there is no such setting; did you mean batchSize\?|dimensions: .*given: 1)/
  },
  { args: ['--set', 'train', 'config'], says: /give it as key=value/ },
  { args: ['config'], env: { MTMI_TRAIN_BATCH: '5' }, says: /variable MTMI_TRAIN_BATCH: there is no such setting/ },
  { args: ['doctor'], env: { MTMI_BACKEND: 'cuda' }, says: /MTMI_BACKEND is "cuda": give tensorflow or wasm/ },
  { args: ['simulate', '--out', 'nowhere/events.jsonl'], says: /--out nowhere\/events.jsonl cannot be written/ }
]

suite('what cannot be is refused, with what was tried and what to do', { concurrency: 2 }, () => {
  for (const { args, says, status = 78, env = {} } of wrong)
    test(`${Object.entries(env)
      .map(([name, value]) => `${name}=${value} `)
      .join('')}mtmi ${args.join(' ')}`, async () => {
      const result = await mtmi(args, { cwd, env })
      assert.match(result.stderr, says)
      assert.equal(result.status, status, result.stderr)
      assert.equal(result.stdout, '', 'standard output belongs to results')
      assert.doesNotMatch(result.stderr, /bug|\n {4}at /)
    })
})

test('none of that has left anything behind', () => {
  assert.deepEqual(readdirSync(cwd).sort(), ['broken.yaml', 'file', 'nothing', 'wrong.yaml'])
})

suite('what is in force', { concurrency: 2 }, () => {
  test('config: defaults under the file under variables under the command line', async () => {
    const folder = mkdtempSync(path.join(cwd, 'config-'))
    writeFileSync(path.join(folder, 'mtmi.yaml'), 'train: { batchSize: 64, negatives: 128, replayRatio: 2 }\n')
    const { status, stdout, stderr } = await mtmi(['config', '--set', 'train.batchSize=32', '--json'], {
      cwd: folder,
      env: { MTMI_TRAIN_BATCH_SIZE: '48', MTMI_TRAIN_NEGATIVES: '256' }
    })
    assert.equal(status, 0, stderr)
    const train = lastLine(stdout).train as Record<string, number>
    assert.deepEqual([train.batchSize, train.negatives, train.replayRatio, train.checkpointKeep], [32, 256, 2, 3])
  })

  test('doctor: which engine is live, by its own choice and by force; it leaves nothing behind', async () => {
    const folder = mkdtempSync(path.join(cwd, 'doctor-'))
    const forced = await mtmi(['doctor', '--json'], { cwd: folder, env: { MTMI_BACKEND: 'wasm' } })
    assert.equal(forced.status, 0, forced.stdout)
    const report = lastLine(forced.stdout) as {
      ok: boolean
      backend: { backend: string; problems: string[] }
      findings: { what: string }[]
    }
    assert.equal(report.ok, true)
    assert.equal(report.backend.backend, 'wasm')
    assert.match(report.backend.problems.join(), /one thread.*times as long/)
    for (const what of ['Node', 'machine', 'backend', 'data directory'])
      assert(
        report.findings.some((finding) => finding.what === what),
        what
      )
    assert.deepEqual(readdirSync(folder), [])
  })

  test('doctor: what has failed decides its status', async () => {
    const { status, stdout } = await mtmi(['doctor', '--data-dir', 'file/below'], { cwd })
    assert.equal(status, 1)
    assert.match(stdout, /^FAILED {3}data directory/m)
  })

  test('help and version are results', async () => {
    const help = await mtmi(['--help'], { cwd })
    assert.equal(help.status, 0)
    for (const verb of 'start simulate replay sequence train publish serve recommend similar evaluate setup doctor config reset'.split(
      ' '
    ))
      assert.match(help.stdout, new RegExp(`^ {2}${verb}\\b`, 'm'))
    const lines = help.stdout.trimEnd().split('\n')
    assert(lines.length <= 50 && lines.every((line) => line.length <= 80), `${lines.length} lines: more than a screen`)
    assert(lines.filter((line) => line.includes('$ mtmi ')).length >= 7, 'an example in each group')
    const { stdout } = await mtmi(['help', 'topics'], { cwd })
    assert.match(stdout, /^Example:\n {2}\$ mtmi topics plan$/m)
    const { version } = JSON.parse(readFileSync(path.resolve(import.meta.dirname, '../../package.json'), 'utf8')) as {
      version: string
    }
    assert.equal((await mtmi(['--version'], { cwd })).stdout, `${version}\n`)
  })
})

test('without the native engine the whole way works, and a warning says what that costs', async () => {
  const folder = mkdtempSync(path.join(cwd, 'wasm-'))
  const { status, stdout, stderr } = await mtmi(['start', '--events', '300', '--once', '--json'], {
    cwd: folder,
    env: { MTMI_BACKEND: 'wasm' }
  })
  assert.equal(status, 0, stderr)
  assert.match(stderr, /^warning: .*WASM computes on one thread.*ten times as long/m)
  assert.match(String(lastLine(stdout).backend), /^WASM/)
  assert((lastLine(stdout).examplesTrained as number) > 0)
})

test('one stage a process: what was simulated into the log is sequenced, learned, published and recommended', async () => {
  const folder = mkdtempSync(path.join(cwd, 'stages-'))
  const run = (...args: string[]) => mtmi(args, { cwd: folder })
  const simulated = await run('simulate', '--events', '300', '--items', '200', '--json')
  assert.equal(simulated.status, 0, simulated.stderr)
  assert.equal(lastLine(simulated.stdout).events, 300)
  for (const stage of ['sequence', 'train', 'publish']) {
    const { status, stderr } = await run(stage, '--once')
    assert.equal(status, 0, `${stage}: ${stderr}`)
  }
  const answer = await run('recommend', '--user', 'u1', '--limit', '3', '--json')
  assert.equal(answer.status, 0, answer.stderr)
  assert.equal((lastLine(answer.stdout).items as unknown[]).length, 3)
  assert(existsSync(path.join(folder, 'data', 'live', 'index')))
})
