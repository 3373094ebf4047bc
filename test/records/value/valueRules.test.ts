import assert from 'node:assert/strict'
import test from 'node:test'
import { cleanText, valueRules } from '../../../src/records/value/valueRules.ts'
import { rules } from './rules.ts'

test('texts that stand for no value are none, in any case and with blanks around them', () => {
  for (const text of [
    '',
    ' ',
    'NA',
    'nan',
    'NaN',
    'NULL',
    'null',
    ' None ',
    'undefined',
    '-',
    '\\N',
    '<NA>',
    'N/A',
    '\u00a0'
  ])
    assert.equal(cleanText(text, rules), undefined, JSON.stringify(text))
})

test('other texts are kept, without blanks around them', () => {
  for (const text of ['0', 'nano', '--', 'Nan Goldin', 'N', 'x'.repeat(100)])
    assert.equal(cleanText(`\t${text} `, rules), text)
})

test('which texts they are is configured', () => {
  const own = valueRules({ nullTexts: ['Anonymous'], earliestYear: 2000 })
  assert.equal(cleanText('anonymous', own), undefined)
  assert.equal(cleanText('', own), undefined)
  assert.equal(cleanText('NA', own), 'NA')
  assert.equal(own.earliestMs, Date.UTC(2000, 0, 1))
})
