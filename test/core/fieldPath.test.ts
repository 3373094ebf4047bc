import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { ConfigError } from '../../src/core/errors.ts'
import { parseFieldPath } from '../../src/core/fieldPath.ts'

const steps = (text: string) => {
  const path = parseFieldPath(text)
  assert.equal(path.kind, 'value')
  return path.kind === 'value' ? path.steps : []
}

test('names fields and elements', () => {
  assert.deepEqual(steps('payload.user.id'), ['payload', 'user', 'id'])
  assert.deepEqual(steps('items[0].sku'), ['items', 0, 'sku'])
  assert.deepEqual(steps('matrix[1][-1]'), ['matrix', 1, -1])
  assert.deepEqual(steps('[2]'), [2])
  assert.deepEqual(steps('a["b.c"][\'d e\'].f'), ['a', 'b.c', 'd e', 'f'])
})

test('$ is the value itself, and lets any field be meant', () => {
  assert.deepEqual(steps('$'), [])
  assert.deepEqual(steps('$.key'), ['key'])
  assert.deepEqual(steps('$["log:time"]'), ['log:time'])
  assert.deepEqual(steps('$ref.x'), ['$ref', 'x'])
})

test('what is not in the value has names of its own', () => {
  assert.deepEqual(parseFieldPath('key'), { kind: 'key', text: 'key', steps: [] })
  assert.deepEqual(parseFieldPath('header:ce_id'), { kind: 'header', text: 'header:ce_id', name: 'ce_id', steps: [] })
  assert.equal(parseFieldPath('log:time').kind, 'time')
  assert.equal(parseFieldPath('log:source').kind, 'source')
  assert.deepEqual(parseFieldPath('= click '), { kind: 'constant', text: '= click ', value: ' click ' })
})

test('what cannot be understood is refused with what to write', () => {
  const refused: readonly [string, RegExp][] = [
    ['', /is empty/],
    [' a', /begins or ends with a blank/],
    ['=', /after = the text/],
    ['a..b', /expected a name before "\.b"/],
    ['a.', /expected a name at its end/],
    ['.a', /expected a name before/],
    [
      'a[x]',
      /write \[0\], \[-1\] for the last, \[\*\] for each, \[key=value\] for the one with that value, or \["a name"\]/
    ],
    ['a[0]b', /expected a dot or a bracket before "b"/],
    ['a]', /expected a dot or a bracket/],
    ['header:', /after header: a name/],
    ['headers:x', /a field of that name is \$\["headers:x"\]/],
    ['log:offset', /log:time and log:source/],
    [Array(40).fill('a').join('.'), /40 steps, at most 32/]
  ]
  for (const [text, message] of refused)
    assert.throws(
      () => parseFieldPath(text),
      (error) => error instanceof ConfigError && message.test(error.message),
      text
    )
})

test('every field name can be written in brackets', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.string({ unit: 'binary' }), fc.integer({ min: -9, max: 99 })), { maxLength: 5 }),
      (names) => {
        const text = `$${names.map((name) => `[${typeof name === 'number' ? (Object.is(name, -0) ? 0 : name) : JSON.stringify(name)}]`).join('')}`
        fc.pre(text.trim() === text)
        assert.deepEqual(
          steps(text),
          names.map((name) => (Object.is(name, -0) ? 0 : name))
        )
      }
    )
  )
})
