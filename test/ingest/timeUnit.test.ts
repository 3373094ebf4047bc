import assert from 'node:assert/strict'
import test from 'node:test'
import { detectTimeUnit, parseTimeMs, type TimeUnit } from '../../src/ingest/timeUnit.ts'

test('times of every unit become milliseconds', () => {
  // 881250949 s = 1997-12-04T15:55:49Z, the first line of MovieLens 100k
  const expected = Date.UTC(1997, 11, 4, 15, 55, 49)
  const cases: [string, TimeUnit][] = [
    ['881250949', 's'],
    ['881250949.0', 's'],
    ['881250949000', 'ms'],
    ['881250949000000', 'us'],
    ['1997-12-04T15:55:49Z', 'iso'],
    ['1997-12-04 15:55:49', 'iso'],
    ['1997-12-04T16:55:49+01:00', 'iso'],
    ['1997-12-04T10:25:49-0530', 'iso']
  ]
  for (const [text, unit] of cases) assert.equal(parseTimeMs(text, unit, text), expected, text)
  assert.equal(parseTimeMs('1997-12-04T15:55:49.1239Z', 'iso', ''), expected + 123)
  assert.equal(parseTimeMs('1997-12-04', 'iso', ''), Date.UTC(1997, 11, 4))
  assert.equal(parseTimeMs('0.0004', 's', ''), 0)
})

test('what is no time, or one in the wrong unit, is refused', () => {
  for (const text of ['', ' ', 'NaN', 'soon', '-1', 'Infinity', '1e300'])
    assert.throws(() => parseTimeMs(text, 's', ''), /expected a time in s/, text)
  // 881250949000 s would be the year 29895
  assert.throws(() => parseTimeMs('881250949000', 's', ''), /is the unit right/)
  for (const text of ['1997-06-31', '1997-13-01', '1997-12-04T24:00:00', '04.12.1997', '1997-02-29']) {
    assert.throws(() => parseTimeMs(text, 'iso', ''), /expected an ISO time/, text)
  }
})

test('the unit is told by size, in spite of a few bad times', () => {
  assert.equal(detectTimeUnit(['881250949', '893286638']), 's')
  assert.equal(detectTimeUnit(['1433221332117', '1433224214164']), 'ms')
  assert.equal(detectTimeUnit(['1433221332117000']), 'us')
  assert.equal(detectTimeUnit(['2010-10-19T23:55:27Z']), 'iso')
  assert.equal(detectTimeUnit([...Array<string>(19).fill('1433221332117'), 'oops']), 'ms')
  assert.equal(detectTimeUnit(['a', 'b']), undefined)
  assert.equal(detectTimeUnit([]), undefined)
})
