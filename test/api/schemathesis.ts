// Makes sure that schemathesis, which tests an HTTP API by its OpenAPI description, is there: in a Python environment
// under .cache/ of the checkout, installed once from PyPI. Returns where it is, or why there is none and what to do.

import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'

/** Other versions generate other cases: raise it on purpose, and fix what it finds. */
export const version = '4.32.5'

const folder = path.resolve(import.meta.dirname, `../../.cache/schemathesis-${version}`)

export function ensureSchemathesis(): { readonly command: string } | { readonly missing: string } {
  const command = path.join(folder, 'bin/schemathesis')
  if (runs(command)) return { command }
  if (spawnSync('python3', ['--version']).status !== 0)
    return { missing: 'python3 is not on the PATH: install Python 3.10 or newer' }
  fs.rmSync(folder, { recursive: true, force: true })
  const made = run('python3', '-m', 'venv', folder)
  if (made !== undefined) return { missing: `python3 -m venv failed (Debian: apt-get install python3-venv): ${made}` }
  const pip = run(
    path.join(folder, 'bin/pip'),
    'install',
    '--quiet',
    '--disable-pip-version-check',
    `schemathesis==${version}`
  )
  if (pip !== undefined) return { missing: `pip could not install schemathesis==${version}: ${pip}` }
  return runs(command) ? { command } : { missing: `${command} does not run: remove ${folder} and try again` }
}

function runs(command: string): boolean {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0
}

/** @returns what went wrong */
function run(command: string, ...words: string[]): string | undefined {
  const { status, stdout, stderr, error } = spawnSync(command, words, { encoding: 'utf8' })
  return status === 0 ? undefined : (error?.message ?? `${stdout}${stderr}`.trim().slice(-500))
}
