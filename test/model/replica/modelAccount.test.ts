import assert from 'node:assert/strict'
import test from 'node:test'
import { unaccounted } from '../../../src/core/account.ts'
import { ModelAccount } from '../../../src/model/replica/modelAccount.ts'
import type { ModelUpdate } from '../../../src/records/modelUpdate.ts'

const updates = {
  row: { kind: 'item-row', itemId: 'i', row: new Float32Array(2), count: 1 },
  'model-version': { kind: 'model-version', modelVersion: 's', reason: 'rebuild', begunAtMs: 0 },
  commit: {
    kind: 'commit',
    step: 1,
    modelVersion: 's',
    model: '{}',
    weightsChanged: false,
    committedAtMs: 0,
    memoryWeight: 0
  }
} as const satisfies Readonly<Record<string, ModelUpdate>>

/**
 * `row`: applied. `row 1`: applied, with one record that did not fit. `row !`: refused by the replica. `!`: not
 * decoded. `-`: without a value.
 */
function accountOf(records: readonly string[]) {
  const account = new ModelAccount()
  for (const record of records) {
    account.read()
    assert.equal(unaccounted(account.numbers()), 0, `in the middle of ${record}`)
    const [kind, end = '0'] = record.split(' ') as [keyof typeof updates, string?]
    if (record === '-') account.empty()
    else if (record === '!') account.refused()
    else {
      account.decoded(updates[kind])
      assert.equal(unaccounted(account.numbers()), 0, `in the middle of ${record}`)
      if (end === '!') account.refused()
      else account.applied(Number(end))
    }
    assert.equal(unaccounted(account.numbers()), 0, `after ${record}`)
  }
  const { read, waiting, outcomes } = account.numbers()
  assert.equal(read, records.length)
  return { waiting, ...outcomes }
}

const none = { waiting: 0, committed: 0, empty: 0, abandoned: 0, refused: 0 }

test('model updates wait for their commit, are abandoned with a refused one or another model version, and each has one outcome', () => {
  assert.deepEqual(accountOf(['row', 'row', '-']), { ...none, waiting: 2, empty: 1 })
  assert.deepEqual(accountOf(['model-version', 'row', 'row', 'commit 1']), { ...none, committed: 3, refused: 1 })
  assert.deepEqual(accountOf(['row', '!', 'commit']), { ...none, committed: 2, refused: 1 })
  assert.deepEqual(accountOf(['row', 'row !', 'commit !', 'row']), { ...none, waiting: 1, abandoned: 1, refused: 2 })
  assert.deepEqual(accountOf(['row', 'row', 'model-version', 'commit']), { ...none, abandoned: 2, committed: 2 })
  assert.deepEqual(accountOf(['row', 'commit !', 'commit 1']), { ...none, abandoned: 1, refused: 1, committed: 1 })
})
