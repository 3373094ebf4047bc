// What README.md and docs/ tell a reader to type: every shell block is run, in a folder of its document, and prints the
// output that the document shows.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync
} from 'node:fs'
import { createServer } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { describeConfig, resolveConfig } from '../../src/core/config/config.ts'
import { missingLine, type ShellBlock, shellBlocks } from './documentBlocks.ts'

const root = path.resolve(import.meta.dirname, '../..')
const documents = [
  'README.md',
  ...readdirSync(path.join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`)
]

for (const document of documents) {
  const blocks = shellBlocks(readFileSync(path.join(root, document), 'utf8'))
  for (const { line, notRun } of blocks)
    if (notRun !== undefined) test(`${document}:${line}`, { skip: `NOT RUN: ${notRun}` }, () => undefined)
  const runnable = blocks.filter(({ notRun }) => notRun === undefined)
  if (runnable.length > 0)
    test(`${document}: its ${runnable.length} shell blocks run and print what it shows`, { timeout: 240_000 }, (t) =>
      runAll(document, runnable, t.signal)
    )
}

test('prose of documents has at most 120 columns', () => {
  for (const document of [...documents, 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md']) {
    let fenced = false
    const long = readFileSync(path.join(root, document), 'utf8')
      .split('\n')
      .filter((line) => {
        if (line.startsWith('```')) fenced = !fenced
        return !fenced && line.length > 120 && !line.startsWith('|') && !/https?:\/\/\S{60}/.test(line)
      })
    assert.deepEqual(long, [], document)
  }
})

test('documents name settings and variables that exist', () => {
  const config = resolveConfig(undefined, {})
  const described = describeConfig(config)
  const paths = described.map(({ path }) => path)
  const variables = new Set(described.map(({ variable }) => variable))
  const isSetting = (name: string) => paths.some((path) => path === name || path.startsWith(`${name}.`))
  for (const document of [...documents, 'ARCHITECTURE.md', 'CONTRIBUTING.md']) {
    const text = readFileSync(path.join(root, document), 'utf8')
    const named = [...text.matchAll(/`([a-z]+)((?:\.(?!csv`|tsv`|json`)[a-zA-Z]+)+)`/g)].filter(([, section]) =>
      Object.hasOwn(config, section!)
    )
    const unknown = named.map(([, section, rest]) => `${section}${rest}`).filter((name) => !isSetting(name))
    const unknownVariables = [...text.matchAll(/\bMTMI_[A-Z_]*[A-Z]\b/g)]
      .map(([name]) => name.replace(/_FILE$/, ''))
      .filter((name) => !variables.has(name) && name !== 'MTMI_DATA' && name !== 'MTMI_CONFIG')
    assert.deepEqual([...unknown, ...unknownVariables], [], document)
  }
})

test('a number belongs to one decision', () => {
  const numbers = readdirSync(path.join(root, 'docs/decisions')).map((name) => name.slice(0, 4))
  assert.deepEqual(numbers, [...new Set(numbers)])
})

test('documents name files that exist', () => {
  for (const document of [...documents, 'ARCHITECTURE.md', 'CONTRIBUTING.md']) {
    const text = readFileSync(path.join(root, document), 'utf8')
    const named = [...text.matchAll(/`((?:src|pipelines|test|infra|schemas)\/[\w./-]+)`/g)].map(([, file]) => file!)
    assert.deepEqual(
      named.filter((file) => !existsSync(path.join(root, file))),
      [],
      document
    )
  }
})

async function runAll(document: string, blocks: readonly ShellBlock[], signal: AbortSignal): Promise<void> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-docs-'))
  const port = await freePort()
  const place = (text: string) => text.replaceAll('127.0.0.1:8080', `127.0.0.1:${port}`)
  // A checkout's commands, without its other files.
  command(folder, 'mtmi', `exec node ${path.join(root, 'infra/mtmi.mjs')} "$@"`)
  command(folder, 'npx', 'exec "$@"')
  writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ scripts: { start: 'mtmi start', mtmi: 'mtmi' } }))
  const script = blocks.map((block, i) =>
    part(place(block.script), block.backgroundUntil, path.join(folder, `.out${i}`))
  )
  // The services of a document end with it: all of them are of one process group.
  const shell = spawn('bash', ['-eu', '-c', `${script.join('\n')}`], {
    cwd: folder,
    detached: true,
    env: { ...process.env, PATH: `${folder}/.bin:${process.env.PATH}`, MTMI_SERVE_PORT: String(port), MTMI_DATA: '' },
    stdio: 'ignore'
  })
  const stop = () => process.kill(-shell.pid!, 'SIGKILL')
  signal.addEventListener('abort', stop)
  try {
    const [status] = (await once(shell, 'exit')) as [number | null]
    for (const [i, block] of blocks.entries()) {
      const output = outputOf(path.join(folder, `.out${i}`))
      const where = `${document}:${block.line}`
      assert(output !== undefined, `${where} was not reached`)
      const isLast = outputOf(path.join(folder, `.out${i + 1}`)) === undefined
      if (isLast) assert.equal(status, 0, `${where}: status ${status}\n${block.script}\n\n${output}`)
      if (block.output === undefined) continue
      const missing = missingLine(place(block.output), output, block.numbersVary)
      assert.equal(missing, undefined, `${where}: the output has no such line. It is:\n${output}`)
    }
  } finally {
    signal.removeEventListener('abort', stop)
    try {
      stop()
    } catch {
      // nothing of it runs any more
    }
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Shell text that runs a block with its output in a file. */
function part(script: string, backgroundUntil: string | undefined, file: string): string {
  if (backgroundUntil === undefined) return `exec > '${file}' 2>&1\n${script}`
  return `exec > '${file}' 2>&1
(${script}) &
service=$!
until grep -q '${backgroundUntil}' '${file}'; do kill -0 $service; sleep 0.1; done`
}

function command(folder: string, name: string, text: string): void {
  const bin = path.join(folder, '.bin')
  const file = path.join(bin, name)
  mkdirSync(bin, { recursive: true })
  writeFileSync(file, `#!/bin/sh\n${text}\n`)
  chmodSync(file, 0o755)
}

function outputOf(file: string): string | undefined {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  return port
}
