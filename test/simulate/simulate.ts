// npm run test:simulate -- [--seeds N] [--from S] [--jobs J] [--first] | --seed S [--trace] | --planted [--seeds N]
// [--jobs J] [--short] [--only TEXT]
//
// docs/testing.md explains the world, the faults and what has to be true after each run.

import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { copyProduct, findPlanted, outdatedPlanted, type PlantedBug, planted } from './planted.ts'
import { type Outcome, prepare, simulateRun } from './simulation.ts'

const say = (line: string) => process.stdout.write(`${line}\n`)

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '300' },
    from: { type: 'string', default: '1' },
    /** Processes that share the seeds. */
    jobs: { type: 'string', default: '1' },
    /** Ends after the first seed that fails. */
    first: { type: 'boolean', default: false },
    seed: { type: 'string' },
    trace: { type: 'boolean', default: false },
    planted: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    /** Of the planted bugs those that the first seeds find. */
    short: { type: 'boolean', default: false }
  }
})
const seeds = number('seeds', values.seeds)
const from = number('from', values.from)
const jobs = number('jobs', values.jobs)

const run =
  values.seed !== undefined
    ? one(number('seed', values.seed))
    : values.planted
      ? allPlanted()
      : jobs > 1
        ? share()
        : many()
process.exit((await run) ? 0 : 1)

function number(name: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw new Error(`--${name} must be a whole number, not '${text}'`)
}

/** @returns whether all invariants hold */
async function one(seed: number): Promise<boolean> {
  const outcome = await simulateRun(seed, await prepare())
  if (values.trace) for (const line of outcome.lines) say(line)
  report(outcome)
  if (outcome.violations.length === 0) say(`seed ${seed}: all invariants hold`)
  return outcome.violations.length === 0
}

async function many(): Promise<boolean> {
  const setting = await prepare()
  const startedMs = performance.now()
  let failed = 0
  let done = 0
  let virtualMs = 0
  for (let seed = from; seed < from + seeds && !(values.first && failed > 0); seed++) {
    const outcome = await simulateRun(seed, setting)
    done++
    virtualMs += outcome.virtualMs
    if (outcome.violations.length > 0) failed++
    report(outcome)
  }
  const seconds = (performance.now() - startedMs) / 1000
  const hours = (virtualMs / 3_600_000).toFixed(1)
  say(
    `${done} seeds from ${from}: ${failed} failed; ${hours} simulated hours in ${seconds.toFixed(0)} s, ${(done / seconds).toFixed(1)} seeds/s`
  )
  return failed === 0
}

async function share(): Promise<boolean> {
  const size = Math.ceil(seeds / jobs)
  const ends: Promise<boolean>[] = []
  for (let first = from; first < from + seeds; first += size) {
    const own = ['--seeds', String(Math.min(size, from + seeds - first)), '--from', String(first)]
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', import.meta.filename, ...own, ...(values.first ? ['--first'] : [])],
      {
        stdio: 'inherit'
      }
    )
    ends.push(new Promise((resolve) => child.on('close', (code) => resolve(code === 0))))
  }
  return (await Promise.all(ends)).every((isGood) => isGood)
}

/** How many seeds it takes to find each planted bug. @returns whether all are found */
async function allPlanted(): Promise<boolean> {
  const outdated = outdatedPlanted()
  if (outdated.length > 0) throw new Error(outdated.join('\n'))
  const waiting: PlantedBug[] = []
  for (const bug of planted.filter(({ name }) => name.includes(values.only))) {
    const reason = bug.notFound ?? (values.short && bug.isSlow === true ? 'takes dozens of seeds' : undefined)
    if (reason === undefined || values.only !== '') waiting.push(bug)
    else say(`NOT TRIED: ${bug.name}\n  ${reason}`)
  }
  let missed = 0
  const work = async () => {
    const copy = copyProduct()
    for (let bug = waiting.shift(); bug !== undefined; bug = waiting.shift()) {
      const found = await findPlanted(copy, bug, seeds)
      if (found === undefined) missed++
      say(
        found === undefined
          ? `MISSED in ${seeds} seeds: ${bug.name}`
          : `seed ${found.seed} finds: ${bug.name}\n  ${found.violation.slice(0, 180)}`
      )
    }
    rmSync(copy, { recursive: true })
  }
  await Promise.all(Array.from({ length: jobs }, work))
  return missed === 0
}

function report({ seed, violations, lines }: Outcome): void {
  if (violations.length === 0) return
  say(`\nseed ${seed} violates:`)
  for (const violation of violations.slice(0, 10)) say(`  ${violation}`)
  if (violations.length > 10) say(`  … and ${violations.length - 10} more`)
  say('what happened last:')
  for (const line of lines.slice(-25)) say(`  ${line.slice(0, 160)}`)
  say(`to see all of it again: npm run test:simulate -- --seed ${seed} --trace`)
}
