// npm run test:simulate -- [--seeds N] [--from S] | --seed S [--trace]
//
// docs/testing.md explains the world, the faults and what has to be true after each run.

import { parseArgs } from 'node:util'
import { type Outcome, prepare, simulateRun } from './simulation.ts'

const say = (line: string) => process.stdout.write(`${line}\n`)

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '300' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    trace: { type: 'boolean', default: false }
  }
})

const setting = await prepare()
if (values.seed !== undefined) {
  const outcome = await simulateRun(Number(values.seed), setting)
  if (values.trace) for (const line of outcome.lines) say(line)
  report(outcome)
  if (outcome.violations.length === 0) say(`seed ${values.seed}: all invariants hold`)
  process.exit(outcome.violations.length === 0 ? 0 : 1)
}

const from = Number(values.from)
const seeds = Number(values.seeds)
const startedMs = performance.now()
const failed: number[] = []
let virtualMs = 0
for (let seed = from; seed < from + seeds; seed++) {
  const outcome = await simulateRun(seed, setting)
  virtualMs += outcome.virtualMs
  if (outcome.violations.length === 0) continue
  failed.push(seed)
  report(outcome)
}
const seconds = (performance.now() - startedMs) / 1000
say(
  `${seeds} seeds from ${from}: ${failed.length} failed; ${(virtualMs / 3_600_000).toFixed(1)} simulated hours in ${seconds.toFixed(1)} s, ` +
    `${(seeds / seconds).toFixed(1)} seeds/s`
)
process.exit(failed.length === 0 ? 0 : 1)

function report({ seed, violations, lines }: Outcome): void {
  if (violations.length === 0) return
  say(`\nseed ${seed} violates:`)
  for (const violation of violations.slice(0, 10)) say(`  ${violation}`)
  if (violations.length > 10) say(`  … and ${violations.length - 10} more`)
  say('what happened last:')
  for (const line of lines.slice(-25)) say(`  ${line.slice(0, 160)}`)
  say(`to see all of it again: npm run test:simulate -- --seed ${seed} --trace`)
}
