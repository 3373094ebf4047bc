import assert from 'node:assert/strict'
import test from 'node:test'
import { ConfigError } from '../../../src/core/errors.ts'
import { parseColumnMapping } from '../../../src/lab/dataset/columnMapping.ts'
import type { FormatName } from '../../../src/lab/dataset/formatName.ts'
import { recognise } from '../../../src/lab/dataset/recognise.ts'
import { usersRecur } from '../../../src/lab/dataset/recogniseFixed.ts'
import { rules } from '../../records/value/rules.ts'

function recognised(name: string, head: readonly string[], options: { format?: FormatName; columns?: string } = {}) {
  const columns = options.columns === undefined ? {} : parseColumnMapping(options.columns)
  return recognise({ path: name, name, head }, options.format, { columns, filters: [], rules })
}

/** `user item type time value` of every record. */
function rows(
  name: string,
  head: readonly string[],
  options: { format?: FormatName; columns?: string } = {}
): string[] {
  const found = recognised(name, head, options)
  assert(found.kind === 'interactions', found.kind === 'ask' ? found.message : found.kind)
  const parse = found.layout.open()
  const read: string[] = []
  for (const line of head.slice(found.layout.headerLines)) {
    parse(line, (user, item, type, timeMs, value) =>
      read.push(
        [user, item, type, Number.isNaN(timeMs) ? '-' : new Date(timeMs).toISOString().slice(0, 10), value]
          .join(' ')
          .trim()
      )
    )
  }
  return read
}

const plain: readonly [format: FormatName | undefined, name: string, ...lines: string[]][] = [
  ['pairs', 'a.txt', '1 10', '1 11', '2 10', '3 12'],
  ['clicks', 'a.txt', '1 10', '2 11', '1 10', '3 12'],
  ['clicks', 'period_3.txt', '1 10', '2 11'],
  ['user-items', 'a.txt', '1 1 2 3', '2 4 5 6 7', '3 2 2'],
  // Ids in no order, but none of them is an item
  ['user-items', 'a.txt', 'u7 i1 i2', 'u3 i4 i5 i6', 'u5 i2'],
  ['sessions', 'a.txt', '1 2 1 1', '3 4 3', '2 1 5 6 5'],
  // Ascending by chance, but 1 comes twice
  ['sessions', 'a.txt', '1 2 3', '1 2', '5 6 7 8'],
  ['sessions', 'a.txt', '4 5 6 7', '1 4 5 6 8', '5 1 2'],
  ['flagged-pairs', 'a.txt', '1 21 1', '1 20 1', '2 19 1'],
  ['csv', 'a.tsv', 'user\titem', '1\t2'],
  // None of them
  [undefined, 'a.csv', 'client,sku', '1,2', '3,4'],
  [undefined, 'notes.txt', 'This is a note.', 'It has a few lines of words', 'and no ids at all'],
  [undefined, 'a.txt', '1', '2'],
  [undefined, 'a.jsonl', '{"message":"started"}'],
  [undefined, 'empty.txt'],
  // Lines of different lengths that hold times are no lists
  [undefined, 'a.log', '1 2 2014-04-01T03:00:32Z', '1 2 3 2014-04-01T03:00:32Z', '2 4 5 6 2014-04-01T03:00:33Z']
]
for (const [format, name, ...lines] of plain) {
  test(`${name} ${lines.slice(0, 2).join(' | ')} is ${format ?? 'unknown'}`, () => {
    const found = recognised(name, lines)
    if (format === undefined) assert(found.kind === 'unknown' || found.kind === 'ask', found.kind)
    else assert.equal(found.kind === 'interactions' ? found.format : found, format)
  })
}

test('a table of fixed width is never a list, and its user column is never guessed', () => {
  const asked = (...lines: string[]) => {
    const found = recognised('a.csv', lines)
    assert(found.kind === 'ask', found.kind)
    return found.message
  }
  const timed = asked('7,10,4,1400000000', '8,11,5,1400000001', '9,10,4,1400000002')
  assert.match(timed, /nothing in it says which column is the user/)
  assert.match(
    timed,
    /--columns user=1,item=2,time=4,value=3\n +user 7 {2}item 10 {2}time 2014-05-13T16:53:20Z {2}value 4\n/
  )
  assert.match(timed, /--columns user=2,item=1,time=4,value=3\n +user 10 {2}item 7/)
  assert.match(timed, /--format, such as amazon-2014, amazon-2018/)
  assert.match(asked('1,2,3', '2,5,6', '3,1,2'), /user-item-time, user-items, sessions/)
  assert.match(asked('5,view,8', '6,buy,9', '5,view,9', '7,view,8'), /--columns user=1,item=3,type=2/)
})

test('ids that say what they are decide, wherever they stand', () => {
  assert.deepEqual(rows('a.csv', ['i1,u7,1400000000', 'i2,u8,1400000001']), [
    'u7 i1 click 2014-05-13',
    'u8 i2 click 2014-05-13'
  ])
  assert.deepEqual(rows('a.txt', ['B00004TMFE,A2F5GHSXFQ0W6J,4.0,1418860800'], {}), [
    'A2F5GHSXFQ0W6J B00004TMFE rating 2014-12-18 4'
  ])
})

test('columns by number, with and without a header', () => {
  const columns = 'user=3,item=1,time=2'
  assert.deepEqual(rows('a.csv', ['10,1400000000,7', '11,1400000001,8'], { columns }), [
    '7 10 click 2014-05-13',
    '8 11 click 2014-05-13'
  ])
  assert.deepEqual(rows('a.csv', ['sku,when,who', 'a,1400000000,7', 'b,1400000001,8'], { columns }), [
    '7 a click 2014-05-13',
    '8 b click 2014-05-13'
  ])
  assert.deepEqual(rows('a.txt', ['1 2', '3 4'], { columns: 'user=2,item=1' }), ['2 1 click -', '4 3 click -'])
  assert.deepEqual(rows('x.data', ['1\t2\t3\t881250949'], { columns: 'user=2,item=1', format: 'movielens' }), [
    '2 1 rating 1997-12-04 3'
  ])
  assert.match(
    (recognised('a.csv', ['1,2,3', '4,5,6'], { columns: 'user=1,item=9' }) as { message: string }).message,
    /no column "9" for item; there are 1, 2, 3/
  )
})

test('a column without values is not taken while another of the role has some', () => {
  const found = recognised('a.csv', ['session,user_id,item_id', '1,NA,5', '2,,6', '3,9,7'])
  assert(found.kind === 'interactions')
  assert.match(found.layout.shown, /user = session, item = item_id; unused: user_id/)
})

test('ids written as floats are whole numbers where the whole column is; a later one that is none is refused', () => {
  assert.deepEqual(rows('a.csv', ['user_id,item_id', '12.0,3', 'nan,4'].slice(0, 2)), ['12 3 click -'])
  const found = recognised('a.csv', ['user_id,item_id', '12.0,1.5', '13.0,2.0'])
  assert(found.kind === 'interactions')
  const parse = found.layout.open()
  const read: string[] = []
  parse('14,2.0', (user, item) => read.push(`${user} ${item}`))
  assert.deepEqual(read, ['14 2.0'])
  assert.throws(
    () => parse('1.5,2.0', () => {}),
    /a user id that is a whole number, as the first ones of the column are, found "1.5"/
  )
  assert.throws(() => parse('NULL,2.0', () => {}), /expected a user id, found "NULL", which stands for no value/)
})

test('numbers that a spreadsheet has rounded are no ids, and a header that comes again is no row', () => {
  const found = recognised('a.csv', ['user_id,item_id', '1,2'])
  assert(found.kind === 'interactions')
  const parse = found.layout.open()
  const none = () => assert.fail('a row')
  assert.throws(() => parse('1.23457E+12,2', none), /found "1.23457E\+12": a number that a spreadsheet has rounded/)
  parse('user_id,item_id', none)
})

test('a quote that is never closed is a character between tabs', () => {
  assert.deepEqual(rows('a.tsv', ['user_id\titem_id\ttitle', '1\t2\t"Great']), ['1 2 click -'])
})

test('a broken first line of JSON does not hide the others', () => {
  const found = recognised('a.jsonl', ['{"user_id":', '{"user_id":1,"item_id":2}'])
  assert.equal(found.kind, 'interactions')
})

test('a rating that is no number costs the rating, not the event; decimal commas are read between semicolons', () => {
  assert.deepEqual(rows('a.csv', ['user_id;item_id;rating', '1;2;4,5', '1;3;good', '1;4;\\N']), [
    '1 2 rating - 4.5',
    '1 3 rating - NaN',
    '1 4 rating -'
  ])
})

test('JSON keeps long ids and nanoseconds, and reads nested fields', () => {
  const line = '{"user":{"id":9007199254740993},"item":"i","type":"like","at":1714557976123456789}'
  assert.deepEqual(rows('a.jsonl', [line], { columns: 'user=user.id,item=item,time=at' }), [
    '9007199254740993 i like 2024-05-01'
  ])
})

test('a format that the file cannot be is an error that says what it is like', () => {
  const cannot = (format: FormatName, message: RegExp, ...head: string[]) =>
    assert.throws(
      () => recognised('a.csv', head, { format }),
      (error) => error instanceof ConfigError && message.test(error.message),
      String(message)
    )
  cannot('yoochoose', /is not yoochoose .*it has 3 columns: "1, 2, 3"/, '1,2,3')
  cannot('hm', /is not hm .*it has 2 columns: "user, item"/, 'user,item', '1,2')
  cannot('otto', /expected a JSON object on every line/, '1,2,3')
  cannot('recbole', /expected a tab-separated header of name:type columns/, 'user\titem')
  cannot('recbole', /one interaction a line/, 'session_id:token\titem_id_list:token_seq\titem_id:token')
})

test('a few broken lines do not hide the format', () => {
  const lines = Array.from({ length: 100 }, (_, i) => `${i} ${i % 7}`)
  const found = recognised('a.txt', [...lines, 'broken', 'a b c'])
  assert.equal(found.kind === 'interactions' && found.format, 'pairs')
})

test('an id recurs when another stood between', () => {
  assert.equal(usersRecur(['a', 'a', 'b', 'b']), false)
  assert.equal(usersRecur(['a', 'b', 'a']), true)
  assert.equal(usersRecur([]), false)
})
