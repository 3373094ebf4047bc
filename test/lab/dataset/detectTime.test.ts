import assert from 'node:assert/strict'
import test from 'node:test'
import { detectTime, shownForm } from '../../../src/lab/dataset/detectTime.ts'
import { rules } from '../../records/value/rules.ts'

const shown = (...texts: string[]) => {
  const found = detectTime(texts, rules)
  return found.kind === 'form' ? shownForm(found.form) : `${found.kind}: ${found.shown}`
}

test('the form is found by the texts, in spite of a few bad ones', () => {
  assert.equal(shown('881250949', '893286638'), 'unit s')
  assert.equal(shown('1433221332117', '1433224214164'), 'unit ms')
  assert.equal(shown('1433221332117000'), 'unit us')
  assert.equal(shown('1714557976123456789'), 'unit ns')
  assert.equal(shown(...Array<string>(19).fill('1433221332117'), 'oops', '0'), 'unit ms')
  assert.equal(shown('2010-10-19T23:55:27Z'), 'unit iso')
  assert.equal(shown('20141118', '20141201'), 'unit iso')
  assert.equal(shown('20141118093000'), 'unit iso')
  assert.equal(shown('Sat, 09 Mar 2019 12:01:17 GMT'), 'unit rfc2822')
  assert.equal(shown('Sat Mar 09 13:57:21 +0000 2019'), 'format EEE MMM d HH:mm:ss ZZZ yyyy')
  assert.equal(shown('11/11/2019 5:24:07 PM', '11/14/2019 4:51:02 AM'), 'format M/d/yyyy h:mm:ss a')
  assert.equal(shown('20/05/2021 14:00'), 'format d/M/yyyy H:mm')
  assert.equal(shown('09 13, 2009'), 'format MM d, yyyy')
  assert.equal(shown('29-Dec-2019'), 'format d-MMM-yyyy')
  assert.equal(shown('13.5.2021'), 'format d.M.yyyy')
})

test('day and month that could be swapped are never guessed', () => {
  assert.equal(
    shown('03/09/2019 02:28:10 PM', '04/10/2019 02:28:10 PM'),
    'ambiguous: "03/09/2019 02:28:10 PM" is 2019-03-09T14:28:10Z by format M/d/yyyy h:mm:ss a or 2019-09-03T14:28:10Z by format d/M/yyyy h:mm:ss a; ' +
      '"04/10/2019 02:28:10 PM" is 2019-04-10T14:28:10Z by format M/d/yyyy h:mm:ss a or 2019-10-04T14:28:10Z by format d/M/yyyy h:mm:ss a'
  )
  assert.match(shown('2014111812', '2015010103'), /^ambiguous: .*unit s or .*format yyyyMMddHH/)
})

test('numbers that are no times are named for what they look like', () => {
  assert.match(
    shown('829', '1111', '1110'),
    /^none: "829", "1111", "1110" \("829" looks like month and day without a year/
  )
  assert.match(shown('14102100'), /^none: .*a year of two digits/)
  assert.match(shown('637000000000000000'), /^none: .*\.NET ticks/)
  assert.match(shown('1', '2', '3'), /^none: .*a count of something else/)
  assert.match(shown('soon'), /^none: "soon"$/)
})
