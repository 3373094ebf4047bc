import assert from 'node:assert/strict'
import test from 'node:test'
import { BadEventError } from '../../../src/core/errors.ts'
import { bindFormat } from '../../../src/lab/dataset/bindFormat.ts'
import type { ColumnMapping } from '../../../src/lab/dataset/columnMapping.ts'
import type { FormatName } from '../../../src/lab/dataset/formatName.ts'

type Row = [userId: string | undefined, itemId: string, type: string, eventTimeMs: number, value: number | undefined]

function rows(format: FormatName, lines: readonly string[], columns: ColumnMapping = {}): Row[] {
  const bound = bindFormat(format, lines, columns, 'file')
  const found: Row[] = []
  for (const line of lines.slice(bound.headerLines)) bound.parse(line, (...row) => found.push(row))
  return found
}

const none = Number.NaN

test('rows of every format', () => {
  assert.deepEqual(rows('recbole', ['user_id:token\titem_id:token\trating:float\ttimestamp:float', '196\t242\t3\t881250949']), [
    ['196', '242', 'rating', 881250949000, 3]
  ])
  assert.deepEqual(rows('recbole', ['session_id:token\titem_id:token', '5\t6']), [['5', '6', 'click', none, undefined]])
  assert.deepEqual(rows('pairs', ['1 2']), [['1', '2', 'click', none, undefined]])
  assert.deepEqual(rows('clicks', ['1\t2']), [['1', '2', 'click', none, undefined]])
  assert.deepEqual(rows('flagged-pairs', ['1 2 1']), [['1', '2', 'checkin', none, undefined]])
  assert.deepEqual(rows('user-items', ['1 2 3']), [
    ['1', '2', 'click', none, undefined],
    ['1', '3', 'click', none, undefined]
  ])
  assert.deepEqual(rows('sessions', ['2 3']), [
    [undefined, '2', 'view', none, undefined],
    [undefined, '3', 'view', none, undefined]
  ])
  assert.deepEqual(rows('user-item-time', ['A1,B1,1400000000']), [['A1', 'B1', 'review', 1400000000000, undefined]])
  assert.deepEqual(rows('user-item-rating-time', ['A1,B1,4.5,1400000000']), [['A1', 'B1', 'rating', 1400000000000, 4.5]])
  assert.deepEqual(rows('amazon-json', ['{"reviewerID":"A1","asin":"B1","overall":5.0,"unixReviewTime":1400000000,"helpful":[0,0]}']), [
    ['A1', 'B1', 'review', 1400000000000, 5]
  ])
  assert.deepEqual(rows('gowalla', ['0\t1970-01-02T00:00:01Z\t30.2\t-97.7\t22847']), [['0', '22847', 'checkin', 86401000, undefined]])
  assert.deepEqual(rows('retailrocket', ['timestamp,visitorid,event,itemid,transactionid', '1433221332117,257597,addtocart,355908,']), [
    ['257597', '355908', 'addtocart', 1433221332117, undefined]
  ])
  assert.deepEqual(rows('csv', ['"title","who","sku","at"', '"a, b",u,"i",2020-01-01'], { user: 'who', item: 'sku', time: 'at' }), [
    ['u', 'i', 'click', Date.UTC(2020, 0, 1), undefined]
  ])
  assert.deepEqual(rows('jsonl', ['{"user":{"id":7},"item":"i","action":"like","ts":1400000000000}'], { user: 'user.id', time: 'ts' }), [
    ['7', 'i', 'like', 1400000000000, undefined]
  ])
})

test('a unit that is given wins over the one that looks likely', () => {
  // 2e10 looks like seconds (the year 2603), but is August 1970 in milliseconds
  assert.deepEqual(rows('csv', ['user,item,time', 'u,i,20000000000'], { unit: 'ms' })[0]?.[3], 20000000000)
})

const broken: readonly [format: FormatName, message: RegExp, sound: string, line: string, header?: string][] = [
  ['pairs', /expected 2 fields \(user, item\), found 3: "1 2 3"/, '1 2', '1 2 3'],
  ['pairs', /expected 2 fields/, '1 2', '1'],
  ['pairs', /expected an item id, found nothing/, '1\t2', '1\t'],
  ['user-items', /expected a user and at least one item/, '1 2 3', '1'],
  ['user-items', /at most 256 characters, found 300/, '1 2 3', `1 2 ${'3'.repeat(300)}`],
  ['user-item-time', /expected a time in s since 1970, found "yesterday"/, '1,2,1400000000', '1,2,yesterday'],
  ['user-item-rating-time', /expected a number as value, found "good"/, '1,2,3,1400000000', '1,2,good,1400000000'],
  ['gowalla', /expected an ISO time/, '0\t2010-10-19T23:55:27Z\t1\t1\t2', '0\t2010-19-19T23:55:27Z\t1\t1\t2'],
  ['csv', /expected 3 fields \(user, item, time\), found 2/, '1,2,1400000000', '1,2', 'user,item,time'],
  ['csv', /expected a user id/, '1,2,1400000000', ' ,2,1400000000', 'user,item,time'],
  ['csv', /quoted field never ends/, '1,2,1400000000', '1,"2,1400000000', 'user,item,time'],
  ['jsonl', /expected a JSON object/, '{"user":1,"item":2}', '{"user":1,'],
  ['jsonl', /expected a JSON object/, '{"user":1,"item":2}', '[1,2]'],
  ['jsonl', /expected an item id/, '{"user":1,"item":2}', '{"user":1,"item":null}'],
  // 2^53 + 1 has become 2^53 by the time it is read
  ['jsonl', /expected a user id/, '{"user":1,"item":2}', '{"user":9007199254740993,"item":2}'],
  ['jsonl', /expected a time in field ts/, '{"user":1,"item":2,"ts":1400000000}', '{"user":1,"item":2}']
]

for (const [format, message, sound, line, header] of broken) {
  test(`${format}: ${line.slice(0, 40)} is refused, and nothing of it is used`, () => {
    const head = header === undefined ? [sound] : [header, sound]
    const bound = bindFormat(format, head, {}, 'file')
    let emitted = 0
    assert.throws(
      () => bound.parse(line, () => emitted++),
      (error) => error instanceof BadEventError && message.test(error.message)
    )
    assert.equal(emitted, 0)
  })
}

test('a header that cannot be right is an error at once', () => {
  assert.throws(() => rows('recbole', ['user\titem', '1\t2']), /expected a tab-separated header of name:type columns/)
  assert.throws(() => rows('recbole', ['session_id:token\titem_id_list:token_seq\titem_id:token', '1\t2 3\t4']), /one interaction a line/)
  assert.throws(() => rows('csv', ['user,item,when', '1,2,noon'], { time: 'when' }), /neither a number nor an ISO time: "noon"/)
  assert.throws(() => rows('csv', ['user,item,item', '1,2,3']), /"item" is in the header twice/)
  assert.throws(() => rows('jsonl', ['no json']), /expected a JSON object on every line/)
})
