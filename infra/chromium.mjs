// Makes sure that there is a Chromium for the console's test: Debian's package, where this may install it. Never fails:
// the test says loudly what it skips.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'

const names = ['chromium', 'chromium-browser', 'google-chrome']
const folders = (process.env.PATH ?? '').split(':').filter((folder) => folder !== '')
const found = names.flatMap((name) => folders.map((folder) => `${folder}/${name}`)).find((file) => fs.existsSync(file))

if (found === undefined) {
  const root = process.getuid?.() === 0 && fs.existsSync('/usr/bin/apt-get')
  if (!root) process.stderr.write('chromium: there is none, and only root may install it: apt-get install chromium\n')
  else {
    process.stderr.write('chromium: installing the package (once, about a minute)\n')
    const apt = (...words) =>
      spawnSync('apt-get', words, {
        stdio: ['ignore', 'ignore', 'pipe'],
        encoding: 'utf8',
        env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
      })
    let result = apt('install', '-y', '--no-install-recommends', 'chromium')
    if (result.status !== 0) {
      apt('update') // the list of packages may be older than the packages
      result = apt('install', '-y', '--no-install-recommends', 'chromium')
    }
    if (result.status !== 0)
      process.stderr.write(`chromium: apt-get could not install it: ${String(result.stderr).trim().slice(-500)}\n`)
  }
}
