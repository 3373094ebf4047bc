// Where `kubernetes-validate` is: it carries Kubernetes' own schemas with it, so that manifests are checked without a
// cluster. From PyPI into the cache, once.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const version = '1.37.0'

/** @returns {{ command: string } | { missing: string }} the command, or why there is none */
export function ensureValidator() {
  const home =
    process.env.MTMI_CACHE ?? path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'mtmi-stream')
  const folder = path.join(home, `kubernetes-validate-${version}`)
  const command = path.join(folder, 'bin', 'kubernetes-validate')
  if (fs.existsSync(path.join(folder, 'complete'))) return { command }
  fs.rmSync(folder, { recursive: true, force: true }) // what an interrupted set-up left
  const run = (file, ...args) => spawnSync(file, args, { stdio: 'ignore' }).status === 0
  if (!run('python3', '-m', 'venv', folder))
    return { missing: '`python3 -m venv` failed (Debian: apt-get install python3-venv)' }
  const pip = [
    '-m',
    'pip',
    'install',
    '-q',
    '--disable-pip-version-check',
    '--no-cache-dir',
    `kubernetes-validate==${version}`
  ]
  if (!run(path.join(folder, 'bin', 'python'), ...pip))
    return { missing: 'pip could not install kubernetes-validate: is PyPI reachable?' }
  fs.writeFileSync(path.join(folder, 'complete'), '')
  return { command }
}
