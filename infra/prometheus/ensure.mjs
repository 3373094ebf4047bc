// Where prometheus and promtool are: on the PATH, or unpacked from Debian's package into the cache. Nothing is
// installed and no service is started.
//
//   node infra/prometheus/ensure.mjs     or     import { ensurePrometheus } from './ensure.mjs'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * @returns {{ prometheus: string, promtool: string } | { missing: string }} paths, or why there are none and what to do
 */
export function ensurePrometheus() {
  if (runs('prometheus') && runs('promtool')) return { prometheus: 'prometheus', promtool: 'promtool' }
  const home =
    process.env.MTMI_CACHE ?? path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'mtmi-stream')
  const cache = path.join(home, 'prometheus')
  const found = { prometheus: path.join(cache, 'usr/bin/prometheus'), promtool: path.join(cache, 'usr/bin/promtool') }
  if (runs(found.prometheus) && runs(found.promtool)) return found
  const problem = unpackDebianPackage(home, cache)
  if (problem === undefined && runs(found.prometheus) && runs(found.promtool)) return found
  return {
    missing: `prometheus and promtool are not on the PATH, and ${problem ?? "Debian's package does not run here"}. Install them (Debian: apt-get install prometheus)`
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const found = ensurePrometheus()
  process.stdout.write(`${JSON.stringify(found)}\n`)
  process.exitCode = 'missing' in found ? 1 : 0
}

function runs(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0
}

/** @returns {string | undefined} what went wrong */
function unpackDebianPackage(home, cache) {
  if (process.platform !== 'linux') return `this is ${process.platform}, where there is no apt-get`
  fs.mkdirSync(home, { recursive: true })
  const work = fs.mkdtempSync(path.join(home, 'prometheus-')) // beside the cache: the rename at the end must not cross file systems
  const run = (command, ...args) => spawnSync(command, args, { cwd: work, stdio: 'ignore' }).status === 0
  try {
    if (
      !run('apt-get', 'download', 'prometheus') &&
      !(run('apt-get', 'update') && run('apt-get', 'download', 'prometheus'))
    )
      return '`apt-get download prometheus` failed'
    const file = fs.readdirSync(work).find((name) => name.endsWith('.deb'))
    if (file === undefined || !run('dpkg-deb', '-x', file, 'unpacked')) return 'the package could not be unpacked'
    fs.rmSync(cache, { recursive: true, force: true })
    fs.renameSync(path.join(work, 'unpacked'), cache)
    return undefined
  } catch (error) {
    return error.message
  } finally {
    fs.rmSync(work, { recursive: true, force: true })
  }
}
