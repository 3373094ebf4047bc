// The pipeline with its rates and lags, the quality of the model, and the outcome of the events.

import { versions as askVersions } from './api.js'
import { qualityChart } from './chart.js'
import { card, count, dateTime, duration, h, pairs, plural, rate, ratio, refill, row, table } from './dom.js'

/** Each request reads the headers of checkpoints. */
const versionsMs = 5000

export function overview(root) {
  const source = h('p', { class: 'facts' }, 'Loading …')
  const flow = h('ol', { class: 'flow', 'aria-label': 'The pipeline, from events to answers' })
  const chart = qualityChart()
  const tiles = h('div', { class: 'tiles' })
  const events = h('dl', { class: 'pairs' })
  const index = h('dl', { class: 'pairs' })
  const drift = h('div', { id: 'drift' })
  const learning = h(
    'div',
    { class: 'stack' },
    tiles,
    h(
      'div',
      { class: 'wide' },
      chart.element,
      h('div', { class: 'stack' }, figures('Records', events), figures('Drift', drift), figures('Index', index))
    )
  )
  const only = h('div', { class: 'two' })
  const versionList = h('div', { class: 'stack' })
  const versionCard = h(
    'section',
    { class: 'card', hidden: true, id: 'versions' },
    h('h2', {}, 'Versions'),
    versionList
  )
  let versionsAskedMs = Number.NEGATIVE_INFINITY
  let newest // status
  const showVersions = async () => {
    if (performance.now() - versionsAskedMs < versionsMs) return
    versionsAskedMs = performance.now()
    const alarms = newest?.drift?.detections ?? []
    const parts = await askVersions().then(
      (found) => versionParts(found, alarms),
      () => []
    ) // the banner shows the error
    if (parts.length === 0) return
    refill(versionList, ...parts)
    versionCard.hidden = false
  }
  root.append(
    h('div', { class: 'head' }, h('div', {}, h('h1', {}, 'From click to recommendation'), source)),
    h('div', { class: 'stack' }, flow, learning, only, versionCard)
  )

  return {
    title: 'Overview',
    update({ status, earlier }) {
      if (status === undefined) return
      newest = status
      source.textContent = describe(status)
      flow.replaceChildren(...steps(status, earlier))
      void showVersions()
      const whole = status.records !== undefined
      learning.hidden = !whole
      only.hidden = whole
      if (!whole) {
        only.replaceChildren(
          card(
            'This process only serves',
            'Sequencing, training and publishing run in other processes: see their /metrics.'
          ),
          figures('Index', pairs(h('dl', { class: 'pairs' }), indexPairs(status)))
        )
        return
      }
      tiles.replaceChildren(...tilesOf(status))
      chart.update(status.training?.curve ?? [])
      pairs(events, recordPairs(status))
      drift.replaceChildren(...driftParts(status.drift))
      pairs(index, indexPairs(status))
    }
  }
}

function describe({ source, backend, newestEventMs, version }) {
  return [
    source === undefined ? undefined : `Source: ${source}`,
    newestEventMs === undefined ? undefined : `stream clock ${dateTime(newestEventMs)}`,
    backend,
    `version ${version}`
  ]
    .filter((part) => part !== undefined)
    .join(' · ')
}

function steps(status, earlier) {
  const { records, users, training, index, answers, stages = [] } = status
  const read = (one) => one.records?.find(({ reader }) => reader === 'sequence').read
  const since = earlier === undefined ? undefined : (status.nowMs - earlier.nowMs) / 1000
  const perSecond = (of) => {
    const [now, before] = [of(status), earlier === undefined ? undefined : of(earlier)]
    return now === undefined || before === undefined ? undefined : Math.max(0, now - before) / since
  }
  const stage = (name) => stages.find((one) => one.stage === name)
  const done = (name) => (one) => one.stages?.find((part) => part.stage === name)?.done
  return [
    records && step('Interactions', read(status), 'read', perSecond(read)),
    records && step('Sequences', users, users === 1 ? 'user' : 'users', perSecond(done('sequence')), stage('sequence')),
    records &&
      step(
        'Model',
        training?.examplesTrained ?? 0,
        'examples trained on',
        perSecond((one) => one.training?.examplesTrained),
        stage('train')
      ),
    step(
      'Index',
      index?.items ?? 0,
      index === null ? 'nothing published yet' : `items · ${plural(index.users, 'user')}`,
      perSecond(done('publish')),
      stage('publish')
    ),
    step(
      'Answers',
      answers.lists,
      answers.p50Ms === undefined ? 'lists served' : `lists · p50 ${answers.p50Ms.toFixed(1)} ms`,
      perSecond((one) => one.answers.lists)
    )
  ].filter((one) => one !== undefined)
}

function step(name, number, unit, perSecond, stage) {
  const behind = stage !== undefined && stage.lagSeconds > 5
  return h(
    'li',
    {},
    h('p', { class: 'name' }, name),
    h('p', { class: 'big' }, count(number)),
    h('p', { class: 'of', title: unit }, unit),
    h(
      'p',
      { class: 'rate' },
      h('span', {}, rate(perSecond)),
      stage &&
        h(
          'span',
          { class: behind ? 'lag far' : 'lag', title: `${plural(stage.waiting, 'record')} waiting` },
          stage.waiting === 0 ? 'no lag' : `lag ${duration(stage.lagSeconds * 1000)}`
        )
    )
  )
}

function tilesOf({ training, freshnessMs }) {
  const times = (other) => (other > 0 ? `${(training.recent.model / other).toFixed(1)}\u00a0×\u00a0` : '–\u00a0')
  return [
    training === undefined
      ? tile('Hit rate@20', '–', 'nothing ranked yet')
      : tile(
          `Hit rate@20, newest ${count(training.recent.targets)}`,
          ratio(training.recent.model),
          `${times(training.recent.popularity)}popularity · ${times(training.recent.cooccurrence)}co‑occurrence`
        ),
    tile(
      'Freshness, click to new vectors',
      freshnessMs === undefined ? '–' : duration(freshnessMs.p50),
      freshnessMs === undefined ? 'nothing published yet' : `p50; p99 ${duration(freshnessMs.p99)}`
    ),
    tile(
      'Intra-user cosine',
      training === undefined ? '–' : ratio(training.intraUserCosine),
      '0: interests differ · 1: all the same'
    ),
    tile(
      'Loss',
      training === undefined ? '–' : ratio(training.loss),
      training === undefined
        ? 'no step yet'
        : `${plural(training.batches, 'step')} · ${count(training.batchesDropped)} dropped`
    )
  ]
}

const tile = (label, value, hint) =>
  h(
    'section',
    { class: 'card tile' },
    h('h2', { class: 'label' }, label),
    h('p', { class: 'value' }, value),
    h('p', { class: 'hint' }, hint)
  )

const recordPairs = ({ records, ignoredTypes = {} }) => [
  ...records.map(({ reader, text }) => [reader, text]),
  ...Object.entries(ignoredTypes).map(([type, n]) => [`no weight: ${type}`, count(n)])
]

const words = (name) => name.replaceAll('_', ' ')

function driftParts({ inputs, detections } = { inputs: [], detections: [] }) {
  const newest = detections[0]
  return [
    inputs.length === 0
      ? h('p', { class: 'note' }, 'The reference is being gathered.')
      : pairs(
          h('dl', { class: 'pairs' }),
          inputs.map(({ feature, psi, threshold }) => [
            words(feature),
            `${ratio(psi)} · ${psi < threshold ? 'steady' : 'changed'}`
          ])
        ),
    newest &&
      h(
        'p',
        { class: 'note' },
        `Newest detection: ${words(newest.signal)}, ${dateTime(newest.eventTimeMs)} (${words(newest.detector)})`
      )
  ].filter((part) => part !== undefined)
}

const indexPairs = ({ index }) =>
  index === null
    ? [['State', 'nothing is published yet']]
    : [
        ['Items', count(index.items)],
        ['Users', count(index.users)],
        ['Version', `${index.indexVersion}@${index.step}`],
        ['Vectors', `${index.interestCount} per user, ${index.dimensions} dimensions`]
      ]

function versionParts({ live, kept, gates, checkpoints, held }, alarms) {
  const facts = [
    ['Served', live ?? 'nothing published yet'],
    ...kept.map((indexVersion) => ['Kept in the index', indexVersion]),
    ...held.map((what) => ['Held', what])
  ]
  return [
    pairs(h('dl', { class: 'pairs' }), facts),
    h('h2', {}, 'Timeline'),
    timeline(gates, checkpoints, alarms),
    h('h2', {}, 'New weights, evaluated before they are served'),
    gates.length === 0
      ? h(
          'p',
          { class: 'note' },
          live === null
            ? 'None yet.'
            : 'None: the first weights are served without a comparison, and there are no later ones.'
        )
      : table(
          ['Step', 'When', 'Outcome', 'Reason'],
          9,
          gates.map(({ step, atMs, outcome, detail }) => row(count(step), dateTime(atMs), outcome, detail))
        ),
    h('h2', {}, 'Checkpoints (`mtmi rollback STEP`)'),
    checkpoints.length === 0
      ? h(
          'p',
          { class: 'note' },
          live === null
            ? 'None yet.'
            : 'None yet: the served weights are newer than the first checkpoint interval (train.checkpointIntervalMs).'
        )
      : table(
          ['Step', 'When', 'Examples trained on', 'Note'],
          9,
          checkpoints.map(({ step, version, savedAtMs, examplesTrained, damaged }) =>
            row(
              step,
              savedAtMs === undefined ? '' : dateTime(savedAtMs),
              count(examplesTrained),
              damaged ?? (version ? 'kept as a version' : '')
            )
          )
        )
  ]
}

const figures = (title, content) => {
  content.style.setProperty('margin-top', '12px')
  return card(title, null, content)
}

/** Entries of the timeline. */
const timelineMax = 12

/** Decisions and alarms, newest first. A drift alarm has the time of its events, which a recording has from long ago. */
function timeline(gates, checkpoints, alarms) {
  const entries = [
    ...gates.map(({ step, atMs, outcome }) => [atMs, `weights of step ${count(step)} ${outcome}`]),
    ...checkpoints.flatMap(({ step, savedAtMs, version }) =>
      savedAtMs === undefined
        ? []
        : [[savedAtMs, `checkpoint of step ${count(step)}${version ? ', kept as a version' : ''}`]]
    ),
    ...alarms.map(({ signal, detector, eventTimeMs }) => [
      eventTimeMs,
      `drift of ${words(signal)} (${words(detector)}), by event time`
    ])
  ]
  entries.sort(([a], [b]) => b - a)
  if (entries.length === 0) return h('p', { class: 'note' }, 'Nothing yet.')
  return h(
    'ol',
    { class: 'rows', id: 'timeline' },
    entries
      .slice(0, timelineMax)
      .map(([ms, what]) =>
        h('li', {}, h('span', { class: 'soft when' }, dateTime(ms)), h('span', { class: 'what' }, what))
      )
  )
}
