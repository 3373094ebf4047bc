import assert from 'node:assert/strict'
import test from 'node:test'
import { BadEventError, ConfigError } from '../../../src/core/errors.ts'
import { compileTimeParser, shownTime, type TimeForm } from '../../../src/records/value/eventTime.ts'
import { valueRules } from '../../../src/records/value/valueRules.ts'
import { rules } from './rules.ts'

const parse = (text: string, form: TimeForm) => compileTimeParser(form, rules)(text)
const at = (iso: string) => Date.parse(iso)

// 881250949 s is 1997-12-04T15:55:49Z, the first line of MovieLens 100k
const moment = at('1997-12-04T15:55:49Z')
const same: readonly [text: string, form: TimeForm][] = [
  ['881250949', { unit: 's' }],
  ['881250949.0', { unit: 's' }],
  [' 8.81250949E8 ', { unit: 's' }],
  ['881250949000', { unit: 'ms' }],
  ['881250949000000', { unit: 'us' }],
  ['881250949000123456', { unit: 'ns' }],
  ['1997-12-04T15:55:49Z', { unit: 'iso' }],
  ['1997-12-04t15:55:49z', { unit: 'iso' }],
  ['1997-12-04 15:55:49', { unit: 'iso' }],
  ['1997-12-04 15:55:49 UTC', { unit: 'iso' }],
  ['1997-12-04 15:55:49+00', { unit: 'iso' }],
  ['1997-12-04T16:55:49+01:00', { unit: 'iso' }],
  ['1997-12-04T10:25:49-0530', { unit: 'iso' }],
  // ISO 8601's own sign
  ['1997-12-04T10:25:49−05:30', { unit: 'iso' }],
  ['1997-12-04T15:55:49.000000000Z', { unit: 'iso' }],
  ['1997-12-04T16:55:49[Europe/Berlin]', { unit: 'iso' }],
  ['1997-12-04T16:55:49+01:00[Europe/Berlin]', { unit: 'iso' }],
  ['1997-12-04 15:55:49.000000001 +0000 UTC', { unit: 'iso' }],
  ['19971204T155549Z', { unit: 'iso' }],
  ['19971204155549', { unit: 'iso' }],
  ['1997-12-04 16:55:49', { unit: 'iso', zone: 'Europe/Berlin' }],
  ['Thu, 04 Dec 1997 15:55:49 GMT', { unit: 'rfc2822' }],
  ['Thu, 04 Dec 1997 16:55:49 +0100', { unit: 'rfc2822' }],
  ['Thu Dec 04 07:55:49 -0800 1997', { format: 'EEE MMM dd HH:mm:ss ZZZ yyyy' }],
  ['12/4/1997 3:55:49 PM', { format: 'M/d/yyyy h:mm:ss a' }],
  ['04/12/1997 16:55:49', { format: 'dd/MM/yyyy HH:mm:ss', zone: 'Europe/Berlin' }]
]
for (const [text, form] of same) {
  test(`${text} by ${JSON.stringify(form)}`, () => assert.equal(parse(text, form), moment))
}

test('numbers are rounded to milliseconds, ISO fractions cut, and days alone are midnight', () => {
  assert.equal(parse('1997-12-04T15:55:49.1239Z', { unit: 'iso' }), moment + 123)
  assert.equal(parse('881250949.1239', { unit: 's' }), moment + 124)
  assert.equal(parse('1997-12-04', { unit: 'iso' }), at('1997-12-04'))
  assert.equal(parse('19971204', { unit: 'iso' }), at('1997-12-04'))
})

test('a zone follows its clock changes', () => {
  const zone = 'Europe/Berlin'
  assert.equal(parse('2024-03-31 01:59:59', { unit: 'iso', zone }), at('2024-03-31T00:59:59Z'))
  assert.equal(parse('2024-03-31 03:00:00', { unit: 'iso', zone }), at('2024-03-31T01:00:00Z'))
  assert.equal(parse('2024-10-27 03:00:00', { unit: 'iso', zone }), at('2024-10-27T02:00:00Z'))
})

const refused: readonly [text: string, form: TimeForm, message: RegExp][] = [
  // Too early for its unit, and what it looks like instead
  [
    '1714557976',
    { unit: 'ms' },
    /found "1714557976", which would be 1970-01-20T20:15:57.976Z; it looks like seconds \(2024-05-01T10:06:16Z\): unit s/
  ],
  ['20141118', { unit: 's' }, /would be 1970-08-22T02:45:18Z; it looks like ISO 8601 \(2014-11-18\): unit iso/],
  ['0829', { unit: 's' }, /month and day without a year \(MMDD\)/],
  ['1111', { unit: 's' }, /month and day without a year \(MMDD\)/],
  ['43784.5', { unit: 's' }, /a spreadsheet's day number \(2019-11-15T12:00:00Z\)/],
  ['637000000000000000', { unit: 'us' }, /\.NET ticks \(2019-07-29/],
  ['14102100', { unit: 's' }, /a date with a year of two digits/],
  ['17', { unit: 's' }, /a count of something else/],
  ['0', { unit: 'ms' }, /would be 1970-01-01/],
  // Too late
  [
    '1714557976123',
    { unit: 's' },
    /would be the year 56302; it looks like milliseconds \(2024-05-01T10:06:16.123Z\): unit ms/
  ],
  ['1714557976123456789', { unit: 'ms' }, /it looks like nanoseconds \(2024-05-01T10:06:16.123Z\): unit ns/],
  ['1714557976', { unit: 'iso' }, /expected an ISO time, found "1714557976"; it looks like seconds/],
  [
    '2024-05-01T10:06:16Z',
    { unit: 'ms' },
    /expected a time in milliseconds .*it looks like ISO 8601 \(2024-05-01T10:06:16Z\): unit iso/
  ],
  ['soon', { unit: 'ms' }, /expected a time in milliseconds since 1970 \(unit ms\), found "soon"$/],
  ['0x6553f100', { unit: 's' }, /found "0x6553f100"$/],
  ['1e300', { unit: 's' }, /which would be no date/],
  ['', { unit: 's' }, /found ""/]
]
for (const [text, form, message] of refused) {
  test(`${JSON.stringify(text)} by ${JSON.stringify(form)} is refused`, () => {
    assert.throws(
      () => parse(text, form),
      (error) => error instanceof BadEventError && message.test(error.message)
    )
  })
}

test('impossible dates are no times', () => {
  for (const text of [
    '1997-06-31',
    '1997-02-29',
    '2024-02-30',
    '20240230',
    '1997-13-01',
    '1997-12-04T24:00:00',
    '1997-12-04T10:60',
    '1997-1204'
  ])
    assert.throws(() => parse(text, { unit: 'iso' }), /expected an ISO time/, text)
  assert.throws(() => parse('31/02/2019', { format: 'dd/MM/yyyy' }), /expected a time such as dd\/MM\/yyyy/)
  assert.throws(() => parse('1997-12-04T10:00:00[Mars/Olympus]', { unit: 'iso' }), /expected an ISO time/)
})

test('the floor is configured', () => {
  const early = valueRules({ nullTexts: [], earliestYear: 1970 })
  assert.equal(compileTimeParser({ unit: 's' }, early)('1'), 1000)
  const late = valueRules({ nullTexts: [], earliestYear: 2010 })
  assert.throws(() => compileTimeParser({ unit: 's' }, late)('881250949'), /between 2010-01-01 and 2100-01-01/)
})

test('a pattern or zone that cannot be used is an error at once', () => {
  assert.throws(
    () => compileTimeParser({ format: 'HH:mm' }, rules),
    (error) => error instanceof ConfigError && /has no year/.test(error.message)
  )
  assert.throws(() => compileTimeParser({ unit: 'iso', zone: 'Berlin' }, rules), /there is no time zone "Berlin"/)
})

test('times are shown as dates', () => {
  assert.equal(shownTime(at('2024-05-01')), '2024-05-01')
  assert.equal(shownTime(at('2024-05-01T10:00:00Z')), '2024-05-01T10:00:00Z')
  assert.equal(shownTime(at('2024-05-01T10:00:00.5Z')), '2024-05-01T10:00:00.500Z')
  assert.equal(shownTime(1e300), 'no date')
})
