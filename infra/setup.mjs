// Makes a fresh clone, or the installed package, ready to run: dependencies from the lock file where there is one, then
// tfjs-node's native part. Plain Node without dependencies, because it runs before there are any. Safe to run again, at
// the same time, and after it was interrupted; a complete set-up is recognised in milliseconds.
//
//   node infra/setup.mjs     or     mtmi setup     or     import { setUp } from './setup.mjs'
//   node infra/setup.mjs --quiet     only what is missing, and not again what has failed: before each start and test
//
// The native part of @tensorflow/tfjs-node is found in this order:
//   1. it already loads;
//   2. the official binaries, where their host can be reached (`npm rebuild`);
//   3. Linux x64: libtensorflow out of the `tensorflow-cpu` 2.13.1 wheel and a g++ compile of the two binding files,
//      cached in MTMI_CACHE (default $XDG_CACHE_HOME/mtmi-stream or ~/.cache/mtmi-stream), so a second clone pays
//      nothing. Where none of them works, a warning says what was tried: the pipeline then runs on the WASM backend,
//      about ten times slower. That is remembered, and not tried again until it is requested.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
/** Newest major version that `npm run test:node` runs. */
const newestNode = 26
const say = (text) => process.stderr.write(`set-up: ${text}\n`)

/**
 * Leaves everything ready to run, or ends the process with a message that says what to do. Prints nothing where nothing
 * is missing.
 *
 * @param asked by somebody, for its own sake: then all is checked again, and what failed before is tried again
 */
export function setUp({ asked = false } = {}) {
  checkNode()
  if (!asked && dependenciesAreThere() && nativeState() === 'ready') return
  if (!asked && dependenciesAreThere() && nativeState() === 'failed') return sayFailedBefore()
  const release = takeLock()
  try {
    if (!dependenciesAreThere()) installDependencies()
    if (asked || nativeState() === 'unknown') installNative()
  } finally {
    release()
  }
  if (asked && nativeState() === 'ready') say('complete')
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > 20 || (major === 20 && minor >= 11)) {
    if (major > newestNode)
      say(`Node ${process.versions.node} is newer than this program was tested with (Node 20.11 to ${newestNode})`)
    return
  }
  process.stderr.write(`set-up: Node ${process.versions.node} is not supported. Install Node 20.11 to ${newestNode}.\n`)
  process.exit(78)
}

/**
 * Python, because zip files are in its standard library and not in Node's. Keeps the two libraries and the C API's
 * headers.
 */
const unpackWheel = `
import glob, os, shutil, sys, zipfile
wheel, target, prefix = zipfile.ZipFile(glob.glob(sys.argv[1] + '/*.whl')[0]), sys.argv[2], 'tensorflow/include/'
headers = tuple(prefix + h for h in ('tensorflow/c/', 'tensorflow/tsl/c/', 'tensorflow/tsl/platform/ctstring', 'tensorflow/core/platform/ctstring'))
for name in wheel.namelist():
    if name.endswith('/'): continue
    if name in ('tensorflow/libtensorflow_cc.so.2', 'tensorflow/libtensorflow_framework.so.2'): out = 'lib/' + os.path.basename(name)
    elif name.startswith(headers): out = 'include/' + name[len(prefix):]
    else: continue
    out = os.path.join(target, out)
    os.makedirs(os.path.dirname(out), exist_ok=True)
    with wheel.open(name) as source, open(out, 'wb') as sink: shutil.copyfileobj(source, sink, 1 << 20)
`

if (process.argv[1] === fileURLToPath(import.meta.url)) setUp({ asked: !process.argv.includes('--quiet') })

// ---------------------------------------------------------------------------------------------------------------------

/** The installed package has no lock file: its dependencies were installed with it. */
function dependenciesAreThere() {
  const lock = path.join(root, 'package-lock.json')
  const stamp = path.join(root, 'node_modules', '.mtmi-lock')
  return !fs.existsSync(lock) || (fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === hashOf(lock))
}

/** `npm ci`, when the lock file is not the one that node_modules was made from. */
function installDependencies() {
  say('installing dependencies from package-lock.json (about 15 s)')
  // --ignore-scripts: tfjs-node's own install script downloads from a host of its own and, where that fails, rolls
  // everything back.
  const done = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    env: { ...process.env, npm_config_update_notifier: 'false' }
  })
  if (done.status !== 0) {
    const why = done.error === undefined ? 'its output is above' : done.error.message
    process.stderr.write(
      `set-up: \`npm ci --ignore-scripts\` failed (${why}). Check the network or the npm registry setting and run this again.\n`
    )
    process.exit(1)
  }
  fs.writeFileSync(path.join(root, 'node_modules', '.mtmi-lock'), hashOf(path.join(root, 'package-lock.json')))
}

/**
 * Where tfjs-node is, and the note beside it of what came of its native part. A new installation takes the note away
 * with it.
 */
function nativePaths() {
  const require = createRequire(path.join(root, 'package.json'))
  const tfjsNode = path.dirname(require.resolve('@tensorflow/tfjs-node/package.json'))
  return {
    require,
    tfjsNode,
    note: path.join(tfjsNode, '.mtmi-native.json'),
    binding: path.join(tfjsNode, 'lib', 'napi-v8', 'tfjs_binding.node'),
    library: path.join(tfjsNode, 'deps', 'lib') // a link into the cache, which somebody may have emptied
  }
}

/** 'ready', 'failed' (and remembered), or 'unknown': by what is on disk, without loading anything. */
function nativeState() {
  const { note, binding, library } = nativePaths()
  const noted = readNote(note)
  if (noted === undefined) return 'unknown'
  if (noted.tried !== undefined) return 'failed'
  return fs.existsSync(binding) && fs.existsSync(library) ? 'ready' : 'unknown'
}

function readNote(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'))
  } catch {
    return undefined // not there, or half written by a set-up that was interrupted
  }
}

function sayFailedBefore() {
  const { tried, at } = readNote(nativePaths().note)
  say(
    `no native tfjs-node since ${at.slice(0, 10)} (${tried.at(-1)}): the slower WASM backend computes. \`mtmi setup\` tries again`
  )
}

function installNative() {
  const { require, tfjsNode, note } = nativePaths()
  const tried = []
  const succeed = (how) => {
    fs.writeFileSync(note, JSON.stringify({ how }))
    say(`tfjs-node native: ${how}`)
  }
  if (loads()) return succeed('already working')

  if (process.env.MTMI_NATIVE !== 'wheel') {
    say('looking for the official tfjs-node binaries')
    if (officialHostAnswers()) {
      if (run('npm', ['rebuild', '@tensorflow/tfjs-node']) && loads()) return succeed('official binaries')
      tried.push('official binaries: `npm rebuild @tensorflow/tfjs-node` failed')
    } else tried.push('official binaries: their download host does not answer')
  }

  if (process.platform !== 'linux' || process.arch !== 'x64') {
    tried.push(`libtensorflow from the PyPI wheel: only for linux x64, this is ${process.platform} ${process.arch}`)
  } else {
    const problem = attempt(() => buildFromWheel(require, tfjsNode))
    if (problem === undefined && loads())
      return succeed('libtensorflow 2.13.1 from the PyPI wheel, binding compiled with g++')
    tried.push(`libtensorflow from the PyPI wheel: ${problem ?? 'built, but does not load'}`)
  }
  fs.writeFileSync(note, JSON.stringify({ tried, at: new Date().toISOString() }))
  process.stderr.write(
    `set-up: WARNING: the native part of tfjs-node is not available; the WASM backend takes over, about ten times slower.\n` +
      tried.map((line) => `        tried ${line}\n`).join('') +
      '        This is remembered. To mend it, install Python 3 with pip and g++ (Debian: apt-get install python3-pip g++), then run `mtmi setup`\n' +
      '        (in a clone: `node infra/setup.mjs`).\n'
  )

  function loads() {
    // The functions that Node 23 removed are put back, as src/model/removedNodeFunctions.ts does for the program.
    const probe = `const u=require('util');u.isArray??=Array.isArray;u.isNullOrUndefined??=(x)=>x==null;const tf=require('@tensorflow/tfjs-node');if(tf.getBackend()!=='tensorflow'||tf.tidy(()=>tf.ones([2,2]).matMul(tf.ones([2,2])).dataSync()[0])!==2)process.exit(3)`
    return (
      spawnSync(process.execPath, ['-e', probe], {
        cwd: root,
        stdio: 'ignore',
        env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: '3' }
      }).status === 0
    )
  }
}

function officialHostAnswers() {
  const probe = `fetch('https://storage.googleapis.com/tensorflow/libtensorflow/libtensorflow-cpu-linux-x86_64-2.9.1.tar.gz',{method:'HEAD',signal:AbortSignal.timeout(8000)}).then(r=>process.exit(r.ok?0:1),()=>process.exit(1))`
  return spawnSync(process.execPath, ['-e', probe], { stdio: 'ignore' }).status === 0
}

/** What goes wrong unforeseen, such as a full disk, is one more reason to fall back. */
function attempt(build) {
  try {
    return build()
  } catch (error) {
    return error.message
  }
}

/** @returns undefined, or what went wrong */
function buildFromWheel(require, tfjsNode) {
  const home =
    process.env.MTMI_CACHE ?? path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'mtmi-stream')
  const cache = path.join(home, 'libtensorflow-2.13.1')
  if (!fs.existsSync(path.join(cache, 'complete'))) {
    say('fetching libtensorflow out of the tensorflow-cpu 2.13.1 wheel (187 MB, once)')
    try {
      makeFolder(home)
    } catch (error) {
      return `the cache ${home} cannot be made: ${error.message}; MTMI_CACHE chooses another`
    }
    removeAbandoned(home)
    const work = fs.mkdtempSync(path.join(home, `wheel-${process.pid}-`)) // beside the cache: the rename at the end must not cross file systems
    try {
      const requirements = path.join(work, 'requirements.txt')
      fs.writeFileSync(
        requirements,
        'tensorflow-cpu==2.13.1 --hash=sha256:bfedeee206ccf8130d14d8990dbe991946324df92458ee1bdbeed1c21497beb3\n'
      )
      const pip = [
        '-m',
        'pip',
        'download',
        '-q',
        '--disable-pip-version-check',
        '--no-cache-dir',
        '--require-hashes',
        '--no-deps',
        '--only-binary=:all:'
      ]
      const wheelOf = [
        '--python-version',
        '3.10',
        '--implementation',
        'cp',
        '--abi',
        'cp310',
        '--platform',
        'manylinux2014_x86_64'
      ]
      if (!run('python3', [...pip, ...wheelOf, '-d', work, '-r', requirements]))
        return 'python3 -m pip download failed (is pip installed, is PyPI reachable?)'
      const unpacked = path.join(work, 'unpacked')
      if (!run('python3', ['-c', unpackWheel, work, unpacked])) return 'the wheel could not be unpacked'
      const lib = (name) => path.join(unpacked, 'lib', name)
      for (const name of ['libtensorflow.so', 'libtensorflow.so.2.9.1'])
        fs.symlinkSync('libtensorflow_cc.so.2', lib(name))
      fs.symlinkSync('libtensorflow_framework.so.2', lib('libtensorflow_framework.so'))
      fs.writeFileSync(path.join(unpacked, 'complete'), '')
      try {
        fs.renameSync(unpacked, cache)
      } catch (error) {
        if (!fs.existsSync(path.join(cache, 'complete'))) throw error // else another clone's set-up was as fast, and may be using it already
      }
    } finally {
      fs.rmSync(work, { recursive: true, force: true })
    }
  }
  const deps = path.join(tfjsNode, 'deps')
  fs.rmSync(deps, { recursive: true, force: true })
  fs.symlinkSync(cache, deps)
  const out = path.join(tfjsNode, 'lib', 'napi-v8')
  fs.mkdirSync(out, { recursive: true })
  const headers = path.join(path.dirname(require.resolve('node-api-headers/package.json')), 'include')
  say('compiling the binding with g++ (about 15 s)')
  const binding = path.join(out, 'tfjs_binding.node')
  const compiled = run(process.env.CXX ?? 'g++', [
    ...['-std=c++17', '-O2', '-fPIC', '-shared', '-DNAPI_VERSION=8'],
    ...[
      `-I${headers}`,
      `-I${deps}/include`,
      `${tfjsNode}/binding/tfjs_backend.cc`,
      `${tfjsNode}/binding/tfjs_binding.cc`
    ],
    ...[`-L${deps}/lib`, '-ltensorflow', '-ltensorflow_framework', '-Wl,-rpath,$ORIGIN/../../deps/lib'],
    ...['-o', `${binding}.part`]
  ])
  if (!compiled) return 'g++ could not compile the binding (is g++ installed?)'
  fs.renameSync(`${binding}.part`, binding)
  return undefined
}

/** Step by step: Node's own recursive way never returns in folders such as /proc. */
function makeFolder(folder) {
  if (fs.existsSync(folder)) return
  makeFolder(path.dirname(folder))
  try {
    fs.mkdirSync(folder)
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
  }
}

/** What interrupted set-ups left in the cache. */
function removeAbandoned(home) {
  for (const name of fs.readdirSync(home)) {
    const pid = /^wheel-(\d+)-/.exec(name)?.[1]
    if (pid !== undefined && !isAlive(Number(pid))) fs.rmSync(path.join(home, name), { recursive: true, force: true })
  }
}

/** One set-up of a folder at a time; others wait for it. @returns how to let go */
function takeLock() {
  const file = path.join(os.tmpdir(), `mtmi-setup-${createHash('sha256').update(root).digest('hex').slice(0, 16)}.lock`)
  let waiting = false
  for (;;) {
    try {
      fs.writeFileSync(file, String(process.pid), { flag: 'wx' })
      const release = () => fs.rmSync(file, { force: true })
      process.once('exit', release)
      return release
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    const holder = Number(readText(file))
    // A file that is still empty belongs to a process that is just writing it, unless it stays so.
    if (holder > 0 ? !isAlive(holder) : ageMs(file) > 10_000) {
      say('an earlier set-up was interrupted; going on')
      fs.rmSync(file, { force: true })
      continue
    }
    if (!waiting) say(`another set-up of this folder is under way (process ${holder}); waiting for it`)
    waiting = true
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500)
  }
}

function readText(file) {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

function ageMs(file) {
  return Date.now() - (fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Date.now())
}

function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

function hashOf(file) {
  return createHash('sha256').update(fs.readFileSync(file)).digest('hex')
}

function run(command, args) {
  return spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] }).status === 0
}
