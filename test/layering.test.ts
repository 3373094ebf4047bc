// Checks on the code itself: the order of the layers, which layer may know which package, and banned calls.
// Idea: TigerBeetle's src/tidy.zig.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'node:test'
import ts from 'typescript'

// Data flows left to right; a folder may import only itself and folders to its left.
const layers = ['base', 'drift', 'event', 'sequence', 'batch', 'model', 'train', 'retrieval', 'recommend', 'evaluate', 'io']

// Packages that only some layers may know. Not listed: every layer.
const packageLayers: Readonly<Record<string, readonly string[]>> = {
  '@tensorflow/tfjs-node': ['model', 'train'],
  '@qdrant/js-client-rest': ['io'],
  'prom-client': ['io'],
  kafkajs: ['io'],
  avsc: ['io'],
  lmdb: ['io'],
  fastify: ['io'],
  'node:fs': ['io']
}

// Calls that would make a run impossible to repeat, and where the one real use lives.
const banned: readonly [pattern: RegExp, instead: string, allowedIn: string][] = [
  [/\bDate\.now\(/, 'take a Clock', 'src/base/clock.ts'],
  [/\bMath\.random\(/, 'take an Rng', 'src/base/rng.ts'],
  [/\bprocess\.env\b/, 'read it in src/base/config.ts', 'src/base/config.ts'],
  [/\bFIXME\b/, 'fix it before it is merged', '']
]

const files = (dir: string) =>
  readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.ts'))
    .map((f) => path.posix.join(dir, f.replaceAll('\\', '/')))

const importsOf = (file: string) => ts.preProcessFile(readFileSync(file, 'utf8')).importedFiles.map((i) => i.fileName)

for (const file of files('src')) {
  test(`${file} imports only from layers to its left`, () => {
    const layer = file.split('/')[1] ?? ''
    const rank = layers.indexOf(layer)
    assert(rank >= 0, `${file} is in no known layer`)
    for (const name of importsOf(file)) {
      if (name.startsWith('.')) {
        const imported = path.posix.join(path.posix.dirname(file), name)
        const importedRank = layers.indexOf(imported.split('/')[1] ?? '')
        assert(imported.startsWith('src/') && importedRank >= 0 && importedRank <= rank, `${file} must not import ${imported}`)
      } else {
        assert(packageLayers[name]?.includes(layer) ?? true, `${file} must not import ${name}`)
      }
    }
  })
}

for (const file of [...files('src'), ...files('pipelines')]) {
  const text = readFileSync(file, 'utf8')
  test(`${file} is tidy`, () => {
    for (const [pattern, instead, allowedIn] of banned) {
      if (file !== allowedIn) assert.doesNotMatch(text, pattern, `${file}: ${instead}`)
    }
  })
}
