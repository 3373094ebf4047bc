// Checks on the code itself: the order of the layers, which of them may know which package, what a composition root may know, and banned words.
// Idea: TigerBeetle's src/tidy.zig.
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'node:test'
import ts from 'typescript'

// Data flows left to right; a folder may import only itself and folders to its left.
const layers = ['base', 'drift', 'event', 'sequence', 'batch', 'model', 'train', 'retrieval', 'recommend', 'evaluate', 'io']

// Packages that only some layers may know, by name or, with a slash at the end, by prefix. Not listed: every layer.
const packageLayers: Readonly<Record<string, readonly string[]>> = {
  '@tensorflow/': ['model', 'train'],
  '@qdrant/': ['io'],
  'prom-client': ['io'],
  kafkajs: ['io'],
  avsc: ['io'],
  lmdb: ['io'],
  fastify: ['io'],
  yaml: ['io'],
  zod: ['base', 'io'],
  '@observablehq/': ['evaluate'],
  linkedom: ['evaluate'],
  // What reaches out of the process, or beside it.
  'node:fs': ['io'],
  'node:fs/promises': ['io'],
  'node:net': ['io'],
  'node:http': ['io'],
  'node:https': ['io'],
  'node:child_process': ['io'],
  'node:worker_threads': ['io'],
  'node:timers/promises': ['base', 'io']
}
// Only pipelines know them: what a person sees of a run.
const pipelinesOnly = ['commander', 'pino', 'cli-progress']

// Calls that would make a run impossible to repeat, and where the one real use lives.
const banned: readonly [pattern: RegExp, instead: string, allowedIn: string][] = [
  [/\bDate\.now\(/, 'take a Clock', 'src/base/clock.ts'],
  [/\bnew Date\(\)/, 'take a Clock', ''],
  [/\bMath\.random\(/, 'take an Rng', 'src/base/rng.ts'],
  [/\bprocess\.env\b/, 'read it in src/base/config.ts', 'src/base/config.ts'],
  [/\b(FIXME|TODO|XXX|HACK)\b/, 'do it before it is merged', '']
]

// Paths of one machine. Neither code nor prose may know where it was written.
const machinePaths = [/\/(home|Users)\/\w+\//, /\/(root|work|workspace|mnt)\/[\w.-]+/, /[A-Z]:\\\\?Users\\/]

const files = (folder: string, ending: string | RegExp = /\.ts$/) =>
  existsSync(folder)
    ? readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .filter((file) => file.match(ending) !== null)
        .map((file) => path.posix.join(folder, file.replaceAll('\\', '/')))
    : []

const importsOf = (file: string) => ts.preProcessFile(readFileSync(file, 'utf8')).importedFiles.map((i) => i.fileName)
const resolved = (file: string, name: string) => path.posix.join(path.posix.dirname(file), name)

function layersOf(name: string): readonly string[] | undefined {
  return packageLayers[name] ?? Object.entries(packageLayers).find(([prefix]) => prefix.endsWith('/') && name.startsWith(prefix))?.[1]
}

for (const file of files('src')) {
  test(`${file} imports only from layers to its left`, () => {
    const layer = file.split('/')[1] ?? ''
    const rank = layers.indexOf(layer)
    assert(rank >= 0, `${file} is in no known layer`)
    for (const name of importsOf(file)) {
      if (name.startsWith('.')) {
        const imported = resolved(file, name)
        const importedRank = layers.indexOf(imported.split('/')[1] ?? '')
        assert(imported.startsWith('src/') && importedRank >= 0 && importedRank <= rank, `${file} must not import ${imported}`)
      } else {
        assert(layersOf(name)?.includes(layer) ?? true, `${file} must not import ${name}: ${layersOf(name)?.join(', ')} may`)
        assert(!pipelinesOnly.includes(name), `${file} must not import ${name}: pipelines may`)
      }
    }
  })
}

// Composition roots: a verb of the command line each. They meet in a topic, a checkpoint or the index, never in an import.
const roots = files('pipelines').filter(
  (file) => importsOf('pipelines/cli.ts').some((name) => resolved('pipelines/cli.ts', name) === file) && isVerb(file)
)

/** Imported only when its verb is given: `await import('./start.ts')`. */
function isVerb(file: string): boolean {
  return readFileSync('pipelines/cli.ts', 'utf8').includes(`import('./${path.posix.relative('pipelines', file)}')`)
}

test('the command line has its verbs', () => assert(roots.length >= 5, `only ${roots.join(', ')}`))

for (const file of files('pipelines')) {
  test(`${file} imports no composition root, and no package that an adapter stands for`, () => {
    for (const name of importsOf(file)) {
      if (name.startsWith('.')) {
        const imported = resolved(file, name)
        assert(imported.startsWith('src/') || imported.startsWith('pipelines/'), `${file} must not import ${imported}`)
        if (file !== 'pipelines/cli.ts') assert(!roots.includes(imported), `${file} must not import the pipeline ${imported}`)
        // Stages are parts: they are built by whoever runs them, and know nobody above them.
        if (file.startsWith('pipelines/stages/') && imported.startsWith('pipelines/'))
          assert(/^pipelines\/(stages\/|parts\.ts$)/.test(imported), `the stage ${file} must not import ${imported}`)
      } else {
        // `feed` is for data sets, and nobody's loop.
        if (file.startsWith('pipelines/stages/') && file !== 'pipelines/stages/feed.ts')
          assert(!name.startsWith('node:timers'), `the stage ${file} must wait by its clock, not by ${name}`)
        const allowed = layersOf(name)
        const engine = name.startsWith('@tensorflow/')
        const adapter = allowed !== undefined && !name.startsWith('node:') && name !== 'yaml'
        assert(!engine && !adapter, `${file} must not import ${name}: ${allowed?.join(', ')} may`)
      }
    }
  })
}

for (const file of [...files('src'), ...files('pipelines')]) {
  test(`${file} is tidy`, () => {
    const text = readFileSync(file, 'utf8')
    for (const [pattern, instead, allowedIn] of banned) {
      if (file !== allowedIn) assert.doesNotMatch(text, pattern, `${file}: ${instead}`)
    }
    const name = path.posix.basename(file)
    assert.doesNotMatch(name, /^(index|utils?|helpers?|common|misc)\./i, `${file}: name it after the one thing that it exports`)
  })
}

test('no file knows the machine it was written on', () => {
  const own = path.posix.join('test', path.basename(import.meta.filename))
  const all = ['src', 'pipelines', 'test', 'infra', 'schemas', '.ci', '.github'].flatMap((folder) =>
    files(folder, /\.(ts|mjs|js|avsc|ya?ml|json|md|sh)$|\/run$|^run$/)
  )
  const top = readdirSync('.').filter((file) => /\.(md|json|mjs|ya?ml)$/.test(file))
  for (const file of [...all, ...top]) {
    if (file === own || file === 'package-lock.json') continue
    const text = readFileSync(file, 'utf8')
    for (const pattern of machinePaths) assert.doesNotMatch(text, pattern, `${file} holds a path of one machine`)
  }
})
