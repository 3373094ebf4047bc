import assert from 'node:assert/strict'
import test from 'node:test'
import { detectFormat, usersRecur } from '../../../src/lab/dataset/detectFormat.ts'

const cases: readonly [format: string | undefined, name: string, ...lines: string[]][] = [
  ['recbole', 'a.inter', 'user_id:token\titem_id:token\trating:float\ttimestamp:float', '1\t2\t3\t881250949'],
  ['pairs', 'a.txt', '1 10', '1 11', '2 10', '3 12'],
  ['clicks', 'a.txt', '1 10', '2 11', '1 10', '3 12'],
  ['clicks', 'period_3.txt', '1 10', '2 11'],
  ['user-items', 'a.txt', '1 1 2 3', '2 4 5 6 7', '3 2 2'],
  // Ids in no order, but none of them is an item
  ['user-items', 'a.txt', 'u7 i1 i2', 'u3 i4 i5 i6', 'u5 i2'],
  ['sessions', 'a.txt', '1 2 1 1', '3 4 3', '2 1 5 6 5'],
  // Ascending by chance, but 1 comes twice
  ['sessions', 'a.txt', '1 2 3', '1 2', '5 6 7 8'],
  ['sessions', 'a.txt', '4 5 6', '1 4 5 6', '5 1 2'],
  ['flagged-pairs', 'a.txt', '1 21 1', '1 20 1', '2 19 1'],
  ['user-item-time', 'a.txt', '1,10,1400000000', '2,11,1400000001'],
  ['user-item-time', 'a.txt', 'A1 B1 1400000000', 'A2 B2 1400000001'],
  ['user-item-rating-time', 'ratings_Books.csv', 'A1,0001,4.0,1400000000', 'A2,0002,5.0,1400000001'],
  ['user-item-rating-time', 'u.data', '196\t242\t3\t881250949', '186\t302\t3\t891717742'],
  ['user-item-rating-time', 'ratings.dat', '1::1193::5::978300760', '1::661::3::978302109'],
  ['amazon-json', 'reviews.json', '{"reviewerID":"A1","asin":"B1","overall":5.0,"unixReviewTime":1400000000}'],
  ['jsonl', 'a.jsonl', '{"user_id":"A1","parent_asin":"B1","timestamp":1400000000000}'],
  ['gowalla', 'a.txt', '0\t2010-10-19T23:55:27Z\t30.2359091167\t-97.7951395833\t22847'],
  ['retailrocket', 'events.csv', 'timestamp,visitorid,event,itemid,transactionid', '1433221332117,257597,view,355908,'],
  ['csv', 'a.csv', 'userId,movieId,rating,timestamp', '1,2,3.5,1112486027'],
  ['csv', 'a.tsv', 'user\titem', '1\t2'],
  // None of them
  [undefined, 'a.csv', 'client,sku', '1,2', '3,4'],
  [undefined, 'notes.txt', 'This is a note.', 'It has a few lines of words', 'and no ids at all'],
  [undefined, 'a.txt', '1', '2'],
  [undefined, 'a.jsonl', '{"message":"started"}'],
  [undefined, 'empty.txt']
]

for (const [format, name, ...lines] of cases) {
  test(`${name} ${lines.slice(0, 2).join(' | ')} is ${format ?? 'unknown'}`, () => assert.equal(detectFormat(name, lines)?.format, format))
}

test('a few broken lines do not hide the format', () => {
  const lines = Array.from({ length: 100 }, (_, i) => `${i} ${i % 7}`)
  assert.equal(detectFormat('a.txt', [...lines, 'broken', 'a b c'])?.format, 'pairs')
})

test('an id recurs when another stood between', () => {
  assert.equal(usersRecur(['a', 'a', 'b', 'b']), false)
  assert.equal(usersRecur(['a', 'b', 'a']), true)
  assert.equal(usersRecur([]), false)
})
