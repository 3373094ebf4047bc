// Checks on the code itself: which folder may import which, which package belongs where, and calls that would make a
// run impossible to repeat. One test a rule; a failure lists every place that breaks it. Idea: TigerBeetle's
// src/tidy.zig.

import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'node:test'
import ts from 'typescript'

// A folder imports itself and folders of earlier lines, never another of its own line. `pipelines` may import all.
const levels = [
  ['core'],
  ['records'],
  ['monitor'],
  ['log', 'index', 'model'],
  ['ingest', 'sequence', 'train', 'publish', 'serve'],
  ['lab']
]
const levelOf = new Map(levels.flatMap((folders, level) => folders.map((folder) => [folder, level] as const)))

// Packages, by name or, with a slash at the end, by prefix, and the folders that may import them. Not listed: all may.
const packageFolders: readonly [name: string, folders: readonly string[]][] = [
  ['@tensorflow/', ['src/model', 'src/train', 'src/lab']],
  ['kafkajs', ['src/log/kafka']],
  ['@qdrant/', ['src/index/qdrant']],
  ['prom-client', ['src/monitor']],
  ['@opentelemetry/', ['src/monitor']],
  ['avsc', ['src/records', 'src/ingest']],
  ['lmdb', ['src/core', 'src/records', 'src/log/local', 'src/index/embedded']],
  ['fastify', ['src/serve']],
  ['@fastify/', ['src/serve']],
  ['ajv', ['src/serve']],
  ['zod', ['src/core', 'src/serve']],
  ['luxon', ['src/records/value']],
  ['hyparquet', ['src/lab/dataset']],
  ['yaml', ['src/core', 'pipelines']],
  ['@observablehq/', ['src/lab']],
  ['linkedom', ['src/lab']],
  ['commander', ['pipelines']],
  ['pino', ['pipelines']]
]

// Calls that would make a run impossible to repeat, what to use, and the one file that may.
const banned: readonly [pattern: RegExp, instead: string, allowedIn: string][] = [
  [/\bDate\.now\(/, 'take a Clock', 'src/core/clock.ts'],
  [/\bnew Date\(\)/, 'take a Clock', ''],
  [/\bMath\.random\(/, 'take an Rng', 'src/core/rng.ts'],
  [/\bprocess\.env\b/, 'read it in src/core/config/config.ts', 'src/core/config/config.ts'],
  [/\b(FIXME|TODO|XXX|HACK)\b/, 'do it before it is merged', '']
]

// Neither code nor prose may know where it was written.
const machinePaths = [/\/(home|Users)\/\w+\//, /\/(root|work|workspace|mnt)\/[\w.-]+/, /[A-Z]:\\\\?Users\\/]

const files = (folder: string, ending: string | RegExp = /\.ts$/) =>
  existsSync(folder)
    ? readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .filter((file) => file.match(ending) !== null)
        .map((file) => path.posix.join(folder, file.replaceAll('\\', '/')))
    : []

const sources = files('src')
const programs = files('pipelines')
const importsOf = (file: string) => ts.preProcessFile(readFileSync(file, 'utf8')).importedFiles.map((i) => i.fileName)
const resolved = (file: string, name: string) => path.posix.join(path.posix.dirname(file), name)
const none = (found: readonly string[], rule: string) => assert.deepEqual(found, [], `${rule}:\n${found.join('\n')}\n`)

test('every folder of src has its place in the order', () => {
  none(
    sources.filter((file) => !levelOf.has(file.split('/')[1] ?? '')),
    'in no known folder'
  )
  assert(sources.length > 200, `only ${sources.length} files: the rules below check nothing`)
})

test('a folder imports only itself and folders of earlier levels: no stage imports a stage, none imports the lab, src never imports pipelines', () => {
  const wrong = sources.flatMap((file) =>
    importsOf(file)
      .filter((name) => name.startsWith('.'))
      .map((name) => resolved(file, name))
      .filter((imported) => {
        const [from, to] = [file.split('/')[1] ?? '', imported.split('/')[1] ?? '']
        return !imported.startsWith('src/') || (from !== to && (levelOf.get(to) ?? 99) >= levelOf.get(from)!)
      })
      .map((imported) => `${file} → ${imported}`)
  )
  none(wrong, 'imports against the order')
})

test('a package is imported only by the folders that adapt it', () => {
  none(
    [...sources, ...programs].flatMap((file) =>
      importsOf(file)
        .filter((name) => {
          const folders = packageFolders.find(
            ([known]) => name === known || (known.endsWith('/') && name.startsWith(known))
          )?.[1]
          return folders !== undefined && !folders.some((folder) => file.startsWith(`${folder}/`))
        })
        .map((name) => `${file} imports ${name}`)
    ),
    'packages in the wrong folder'
  )
})

test('no command imports another command: they meet in a topic, a checkpoint or the index', () => {
  const main = 'pipelines/cli/cli.ts'
  const text = readFileSync(main, 'utf8')
  const commands = importsOf(main)
    .map((name) => [name, resolved(main, name)] as const)
    .filter(([name]) => text.includes(`import('${name}')`))
    .map(([, file]) => file)
  assert(commands.length >= 5, `only ${commands.join(', ')}`)
  none(
    [...sources, ...programs]
      .filter((file) => file !== main)
      .flatMap((file) =>
        importsOf(file)
          .map((name) => resolved(file, name))
          .filter((imported) => commands.includes(imported))
          .map((imported) => `${file} → ${imported}`)
      ),
    'imports of a command'
  )
})

test('the loop of a stage waits by its clock', () => {
  // `feed` is for data sets, and no stage's loop. HTTP and registries wait for sockets.
  const loops = sources.filter((file) => /Stage\.ts$|^src\/(train|publish)\/|^src\/sequence\//.test(file))
  assert(loops.length > 20)
  none(
    loops.flatMap((file) =>
      importsOf(file)
        .filter((name) => name.startsWith('node:timers'))
        .map((name) => `${file} imports ${name}`)
    ),
    'waits by something else'
  )
})

for (const [pattern, instead, allowedIn] of banned) {
  test(`no source has ${pattern.source}: ${instead}`, () =>
    none(
      [...sources, ...programs].filter((file) => file !== allowedIn && pattern.test(readFileSync(file, 'utf8'))),
      instead
    ))
}

test('only src/core/terminal.ts writes to standard output and standard error', () => {
  const own = 'src/core/terminal.ts'
  const direct =
    /\bprocess\.std(out|err)\b|\bconsole\.\w+\(|\bpino\.destination\(|\b_rawDebug\(|writeSync\(\s*[12]\b|output: process\b/
  assert.match(readFileSync(own, 'utf8'), direct)
  none(
    [...sources, ...programs].filter((file) => file !== own && direct.test(readFileSync(file, 'utf8'))),
    'prints past src/core/terminal.ts'
  )
})

/** Handlers that see no error: `catch { … }`, and `.catch(() => …)` whose arrow takes nothing. */
function blindCatches(file: string, text: string): string[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    const isBlindBlock = ts.isCatchClause(node) && node.variableDeclaration === undefined
    const isBlindCall =
      ts.isCallExpression(node) &&
      ts.isPropertyAccessExpression(node.expression) &&
      node.expression.name.text === 'catch' &&
      node.arguments.some((argument) => ts.isArrowFunction(argument) && argument.parameters.length === 0)
    if (isBlindBlock || isBlindCall) {
      const { line } = source.getLineAndCharacterOfPosition(
        isBlindCall ? node.expression.name.getStart() : node.getStart()
      )
      const lines = text.split('\n')
      const end = source.getLineAndCharacterOfPosition(node.getEnd()).line
      const hasReason = lines.slice(Math.max(0, line - 1), end + 1).some((one) => /(^|\s)\/\/ \S/.test(one))
      // What throws an error of its own reports.
      const reports = isBlindBlock && node.block.statements.some((statement) => ts.isThrowStatement(statement))
      if (!hasReason && !reports) found.push(`${file}:${line + 1}`)
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

test('an error that is caught and dropped has its reason beside it', () => {
  const planted = [
    'try { f() } catch {}',
    'p.catch(() => {})',
    'try { f() } catch {\n  return 1\n}',
    'try { f() } catch { // no\n}'
  ]
  assert.deepEqual(
    planted.map((text) => blindCatches('planted.ts', text).length),
    [1, 1, 1, 0]
  )
  none(
    [...sources, ...programs].flatMap((file) => blindCatches(file, readFileSync(file, 'utf8'))),
    'catches that say nothing: narrow them, report the error, or give the reason in a comment'
  )
})

test('a file is named after the one thing that it exports', () =>
  none(
    [...sources, ...programs].filter((file) =>
      /^(index|utils?|helpers?|common|misc)\./i.test(path.posix.basename(file))
    ),
    'names that say nothing'
  ))

test('no file knows the machine it was written on', () => {
  const own = path.posix.join('test', path.basename(import.meta.filename))
  const all = ['src', 'pipelines', 'test', 'infra', 'schemas', 'docs', '.ci', '.github'].flatMap((folder) =>
    files(folder, /\.(ts|mjs|js|avsc|ya?ml|json|md|sh)$|\/run$|^run$/)
  )
  const top = readdirSync('.').filter((file) => /\.(md|json|mjs|ya?ml)$/.test(file))
  none(
    [...all, ...top]
      .filter((file) => file !== own && file !== 'package-lock.json')
      .filter((file) => machinePaths.some((pattern) => pattern.test(readFileSync(file, 'utf8')))),
    'holds a path of one machine'
  )
})
