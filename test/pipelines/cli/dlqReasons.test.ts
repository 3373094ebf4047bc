import assert from 'node:assert/strict'
import test from 'node:test'
import { reasonOf } from '../../../pipelines/deadLetterReport.ts'

const reason = (message: string) => reasonOf({ exception: 'BadEventError', message }).replace('BadEventError: ', '')

test('values are left out of a reason; digits that are part of a name, an index or a unit stay', () => {
  assert.equal(
    reason('user is missing: nothing at items[0].sku2: items is a list of 3'),
    'user is missing: nothing at items[0].sku2: items is a list of …'
  )
  assert.equal(reason('the value is not UTF-8 text: 9 bytes'), 'the value is not UTF-8 text: … bytes')
  assert.equal(reason('found "1714557976", which would be 1970-01-20T20:15:57.976Z'), 'found "…", which would be …')
  assert.equal(reason('eventTimeMs is -1, 3.5 h ahead'), 'eventTimeMs is …, … h ahead')
})
