import assert from 'node:assert/strict'
import { test } from 'node:test'
import { explainFailure } from '../../../pipelines/cli/explainFailure.ts'
import { ConfigError, CorruptError, DivergedError, UnavailableError } from '../../../src/core/errors.ts'

function explained(error: unknown): { status: number; text: string } {
  let text = ''
  const say = (more: string) => {
    text += `${more}\n`
  }
  const status = explainFailure(error, say, '/data')
  return { status, text }
}

test('our errors: their message, and the status of whoever must act', () => {
  assert.deepEqual(explained(new ConfigError(['a', 'b'])), { status: 78, text: 'mtmi: 2 problems:\n  - a\n  - b\n' })
  assert.equal(explained(new UnavailableError('down')).status, 1)
  assert.equal(explained(new CorruptError('torn')).status, 2)
  assert.equal(explained(new DivergedError('not finite')).status, 70)
})

test('errors of the operating system, by name and by number, say what to do', () => {
  const denied = explained(
    Object.assign(new Error('EACCES: permission denied, mkdir /x/y'), { code: 'EACCES', path: '/x/y' })
  )
  assert.deepEqual(denied, {
    status: 78,
    text: 'mtmi: /x cannot be used: EACCES: permission denied, mkdir /x/y; correct its permissions, or choose another --data-dir\n'
  })
  // LMDB: errno 28 is ENOSPC.
  const full = explained(Object.assign(new Error('No space left on device'), { code: 28 }))
  assert.equal(full.status, 1)
  assert.match(full.text, /^mtmi: no room on \/data: the disk is full \(No space left on device\)\. Make room there/)
  const checkpoint = new UnavailableError('checkpoint /data/c cannot be written: EDQUOT', {
    cause: Object.assign(new Error('EDQUOT: write'), { code: 'EDQUOT' })
  })
  assert.match(
    explained(checkpoint).text,
    /^mtmi: no room on \/data: the quota is used up \(checkpoint \/data\/c cannot be written: EDQUOT\)/
  )
  assert.match(
    explained(Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' })).text,
    /raise `ulimit -n`/
  )
})

test('everything else is a bug of ours, with its stack', () => {
  const { status, text } = explained(new TypeError('x is not a function'))
  assert.equal(status, 70)
  assert.match(text, /^mtmi: this is a bug, please report it\nTypeError: x is not a function\n {4}at /)
  assert.equal(explained(undefined).status, 70)
})
