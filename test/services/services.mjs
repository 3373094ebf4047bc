// npm run test:services [-- --full] [FILE…]: the tests on real services; `--full` with the long forms of scenarios.
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import path from 'node:path'

const words = process.argv.slice(2)
const named = words.filter((word) => word !== '--full')
const all = readdirSync(import.meta.dirname).filter((file) => file.endsWith('.test.ts'))
const files = named.length > 0 ? named : all.sort().map((file) => path.join(import.meta.dirname, file))
const { status } = spawnSync(
  process.execPath,
  ['--import', 'tsx', '--test', '--test-concurrency=1', '--test-reporter=spec', ...files],
  { stdio: 'inherit', env: { ...process.env, ...(words.includes('--full') ? { SERVICES_FULL: '1' } : {}) } }
)
process.exitCode = status ?? 1
