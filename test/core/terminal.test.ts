import assert from 'node:assert/strict'
import { test } from 'node:test'
import { keepPlain, plainText } from '../../src/core/terminal.ts'

test('no control character and no change of direction reaches a terminal; tabs, line ends and all letters do', () => {
  assert.equal(
    plainText('\u001b]0;title\u0007\u001b[2J\r\u009b31m'),
    '\\u001b]0;title\\u0007\\u001b[2J\\u000d\\u009b31m'
  )
  assert.equal(
    plainText('\u202egnp.exe\u202c \u2066x\u2069 \u200f\u061c\u2028'),
    '\\u202egnp.exe\\u202c \\u2066x\\u2069 \\u200f\\u061c\\u2028'
  )
  for (const good of ['a\tb\n', 'שלום العربية 漢字 é 😀 👩‍👩‍👧', '\\ " \u00a0']) assert.equal(plainText(good), good)
  for (let code = 0; code < 0xa0; code++) {
    const isHarmful = (code < 32 && code !== 9 && code !== 10) || code >= 0x7f
    assert.equal(plainText(String.fromCharCode(code)).length, isHarmful ? 6 : 1, String(code))
  }
})

test('a line of JSON still means the same', () => {
  const value = { title: '\u202e\u009b\u001b[31m"\\', 'key\u2066': [1] }
  assert.deepEqual(JSON.parse(plainText(JSON.stringify(value))), value)
})

test('a stream kept plain writes plain text, and bytes as they are', () => {
  const written: unknown[] = []
  const stream = { write: (chunk: unknown) => written.push(chunk) > 0 } as unknown as NodeJS.WriteStream
  keepPlain(stream)
  stream.write('a\u001b[1m\n')
  stream.write(Uint8Array.of(27))
  assert.deepEqual(written, ['a\\u001b[1m\n', Uint8Array.of(27)])
})
