import assert from 'node:assert/strict'
import test from 'node:test'
import { describeConfig, resolveConfig } from '../../../src/core/config/config.ts'
import { ConfigError } from '../../../src/core/errors.ts'
import { withoutSecrets } from '../../../src/core/secrets.ts'

const clicks = { topic: 'clicks', format: 'json', user: 'u', item: 'i', type: '=click', time: 't' }

function problemsOf(file: unknown, environment: Record<string, string> = {}): readonly string[] {
  try {
    resolveConfig(file, environment)
  } catch (error) {
    assert(error instanceof ConfigError)
    return error.problems
  }
  return []
}

test('short forms mean the long ones', () => {
  const [source] = resolveConfig(
    { sources: [{ ...clicks, features: undefined, context: { device: 'd' }, filter: { path: 'bot', equals: false } }] },
    {}
  ).sources
  assert.deepEqual(source, {
    topic: 'clicks',
    kind: 'interactions',
    format: 'json',
    user: ['u'],
    item: ['i'],
    type: { path: ['=click'], others: 'filter' },
    time: { path: ['t'] },
    context: { device: ['d'] },
    features: {},
    deleted: [],
    filter: [{ path: 'bot', equals: false }]
  })
})

test('a CloudEvent has type and time in its headers, our own records have everything', () => {
  assert.deepEqual(problemsOf({ sources: [{ topic: 'a', format: 'cloudevents', user: 'u', item: 'i' }] }), [])
  assert.deepEqual(problemsOf({ sources: [{ topic: 'a', format: 'mtmi' }] }), [])
  assert.deepEqual(problemsOf({ sources: [{ topic: 'a', kind: 'items', format: 'json', item: 'key' }] }), [])
})

test('all problems are reported at once, of single values and between them', () => {
  const problems = problemsOf({
    sources: [
      { topic: 'interactions', format: 'json', user: 'a..b', itm: 'x' },
      { ...clicks, format: 'xml', time: { path: 't', unit: 'h' } },
      { ...clicks, filter: [{ path: 'x' }, { path: 'y', equals: 1, exists: true }] },
      { topic: 'p', kind: 'items', format: 'avro', item: 'id', user: 'u' },
      { topic: 'm', format: 'mtmi', user: 'u', schema: 'x.avsc' }
    ]
  })
  const expected = [
    /^sources\.0 \(interactions\): this topic is what mtmi writes/,
    /^sources\.0 \(interactions\): item is missing/,
    /^sources\.0 \(interactions\): type is missing: .*type: =click/,
    /^sources\.0 \(interactions\): time is missing: .*log:time/,
    /^sources\.0\.user\.0: a\.\.b: expected a name .*given: "a\.\.b"; variable MTMI_SOURCES/,
    /^sources\.0\.itm: there is no such setting; did you mean item\?/,
    /^sources\.1\.format: .*"json".*given: "xml"/,
    /^sources\.1\.time\.unit: .*given: "h"/,
    /^sources\.2 \(clicks\): the topic is named twice/,
    /^sources\.2 \(clicks\): a filter needs exactly one of equals, in, exists; it has none/,
    /^sources\.2 \(clicks\): a filter needs exactly one .* it has equals, exists/,
    /^sources\.3 \(p\): user has no meaning for kind items/,
    /^sources\.3 \(p\): schema is missing/,
    /^sources\.4 \(m\): user has no meaning for format mtmi, whose records have it/,
    /^sources\.4 \(m\): schema has no meaning for format mtmi/
  ]
  for (const pattern of expected)
    assert(
      problems.some((problem) => pattern.test(problem)),
      `${pattern} in\n${problems.join('\n')}`
    )
  assert.equal(problems.length, expected.length, problems.join('\n'))
})

test('our topics are those that are configured', () => {
  assert.deepEqual(
    problemsOf({ topics: { interactions: 'mine' }, sources: [{ ...clicks, topic: 'interactions' }] }),
    []
  )
  assert.match(problemsOf({ topics: { interactions: 'clicks' }, sources: [clicks] })[0] ?? '', /what mtmi writes/)
})

test('sources can be given in a variable, as JSON', () => {
  assert.equal(resolveConfig({}, { MTMI_SOURCES: JSON.stringify([clicks]) }).sources[0]?.topic, 'clicks')
})

test('the secrets of the registry are read from files and never shown', () => {
  const file = { registry: { url: 'https://r:8081, https://s', username: 'u' } }
  const config = resolveConfig(file, { MTMI_REGISTRY_PASSWORD_FILE: '/run/secret' }, {}, () => 'hunter2\n')
  assert.equal(config.registry.password, 'hunter2')
  assert.equal(withoutSecrets(config).registry.password, '***')
  assert.equal(withoutSecrets(config).registry.token, '')
  assert(!JSON.stringify([withoutSecrets(config), describeConfig(config)]).includes('hunter2'))
  const problems = problemsOf({ registry: { url: 'https://me:hunter2@r', password: 7, token: 't', username: 'u' } })
  assert.equal(problems.length, 3, problems.join('\n'))
  assert.match(problems.join('\n'), /registry\.url: expected http:.*without a user/)
  assert.match(problems.join('\n'), /registry\.password: .*given: \*\*\*/)
  assert.match(problems.join('\n'), /either basic or bearer/)
})
