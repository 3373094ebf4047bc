// The whole HTTP API of a running `mtmi start` against its own description, by cases that schemathesis makes of it:
// `npm run test:api`.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { MtmiProcess } from '../support/mtmiProcess.ts'
import { ensureSchemathesis } from './schemathesis.ts'

const tool = ensureSchemathesis()
const skip = 'missing' in tool && `THE API IS NOT TESTED BY ITS DESCRIPTION: ${tool.missing}`
if (skip !== false) process.stderr.write(`${skip}\n`)

/**
 * What a request must never cause, and what an answer must be. `positive_data_acceptance` and `use_after_free` do not
 * fit: unknown ids are 404, and an erasure is not immediate.
 */
const checks = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
  'negative_data_rejection',
  'unsupported_method',
  'ignored_auth'
]

/** Answers that reject a request. 431: schemathesis also writes addresses that are longer than the server reads. */
const rejections = [
  '400',
  '401',
  '403',
  '404',
  '405',
  '406',
  '408',
  '409',
  '411',
  '413',
  '415',
  '422',
  '428',
  '429',
  '431'
]

const admin = 'api-test-0123456789abcdef'

test('no request that the description allows or forbids is answered by a fault, or by what the description does not say', {
  skip
}, async (t) => {
  if ('missing' in tool) return
  const folder = await mkdtemp(path.join(os.tmpdir(), 'mtmi-api-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  for (const [name, env, headers] of [
    ['without tokens', {}, []],
    ['with tokens', { MTMI_SERVE_ADMIN_TOKEN: admin }, ['--header', `Authorization: Bearer ${admin}`]]
  ] as const) {
    await t.test(name, async (t) => {
      const dataDir = path.join(folder, name.replace(' ', '-'))
      const service = new MtmiProcess(['--data-dir', dataDir, 'start', '--events', '3000', '--port', '0'], {
        cwd: folder,
        env
      })
      t.after(() => service.stop('SIGTERM'))
      const base = (await service.says(/Serving on (http:\S+)/))[1]!
      const { status, cases, output } = await schemathesis(tool.command, folder, [`${base}/openapi.json`, ...headers])
      assert.equal(status, 0, shorten(output))
      t.diagnostic(`${cases} cases`)
      assert(cases >= 500, `only ${cases} cases:\n${shorten(output)}`)
      const { status: ready } = await fetch(`${base}/readyz`)
      assert([200, 503].includes(ready), 'the service answers afterwards')
    })
  }
})

async function schemathesis(command: string, cwd: string, words: readonly string[]) {
  const config = path.join(cwd, 'schemathesis.toml')
  await writeFile(config, `[checks.negative_data_rejection]\nexpected-statuses = ${JSON.stringify(rejections)}\n`)
  const child = spawn(
    command,
    [
      ...['--config-file', config, '--no-color', 'run', ...words, '--checks', checks.join(',')],
      ...['--phases', 'examples,coverage,fuzzing', '--max-examples', '50', '--seed', '1', '--continue-on-failure'],
      ...[
        '--generation-database',
        'none',
        '--suppress-health-check',
        'all',
        '--request-timeout',
        '20',
        '--warnings',
        'off'
      ]
    ],
    { cwd, stdio: ['ignore', 'pipe', 'pipe'] }
  )
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  const [status] = (await once(child, 'close')) as [number | null]
  return { status, cases: Number(/(\d+) generated/.exec(output)?.[1] ?? 0), output }
}

/** Addresses of many kilobytes hide what failed. */
function shorten(output: string): string {
  return output.replace(/.{2000,}/g, (line) => `${line.slice(0, 2000)}… (${line.length} characters)`)
}
