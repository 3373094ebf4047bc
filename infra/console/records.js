// Records that could not be used: why, one of each kind, and their replay.

import { deadLetters, replayDeadLetters } from './api.js'
import { card, choose, chosen, count, dateTime, empty, h, pairs, plural, refill, row, table } from './dom.js'

export function recordsPage(root) {
  let closed = false
  const facts = h('p', { class: 'facts' }, 'Loading …')
  const said = h('p', { class: 'said', role: 'status' })
  const body = h('div', { class: 'stack' })
  root.append(
    h(
      'div',
      { class: 'head' },
      h('div', {}, h('h1', {}, 'Bad records'), facts),
      h('button', { type: 'button', onclick: () => void load() }, 'Look again')
    ),
    said,
    body
  )

  async function load() {
    const topic = chosen().get('topic') ?? ''
    const reason = chosen().get('reason') ?? ''
    try {
      const found = await deadLetters(topic, reason)
      if (closed) return
      const all = found.topics.reduce((sum, { deadLetters }) => sum + deadLetters, 0)
      facts.textContent =
        all === 0
          ? 'There are none.'
          : `${plural(all, 'dead-letter record')} in ${plural(found.topics.length, 'topic')}.`
      refill(
        body,
        ...(all === 0 ? [empty('A record that cannot be used appears here, with its bytes and the reason.')] : []),
        ...(found.newest === undefined ? [] : [letterCard(found.newest, topic, reason)]),
        ...found.topics.map(topicCard)
      )
    } catch (error) {
      if (!closed) body.replaceChildren(h('p', { class: 'empty bad' }, error.message))
    }
  }

  const topicCard = ({ topic, deadLetters, records, replayed, reasons }) =>
    card(
      topic,
      `${plural(deadLetters, 'dead letter')} of ${plural(records, 'record')}, ${count(replayed)} replayed.`,
      table(
        ['Reason', 'Stage', 'Records', 'One of them'],
        2,
        reasons.map(({ stage, reason, deadLetters: n }) => {
          const show = () => {
            choose({ topic, reason })
            void load()
          }
          const button = h(
            'button',
            { type: 'button', class: 'click', onclick: show, 'aria-label': `Show one: ${reason}` },
            'Show'
          )
          const cells = row(reason, stage, count(n), stage === '' ? '' : button)
          for (const cell of [...cells.children].slice(2)) cell.className = 'right'
          return cells
        })
      )
    )

  function letterCard(letter, topic, reason) {
    const { source, value, key, now } = letter
    return card(
      'The newest of this reason',
      null,
      pairs(h('dl', { class: 'pairs' }), [
        ['Read from', `${source.topic}, partition ${source.partition}, offset ${source.offset}`],
        ['Dead-lettered', `${dateTime(letter.writtenMs)} by ${letter.stage}${letter.replayed ? ', replayed' : ''}`],
        ['Error', `${letter.exception}: ${letter.message}`],
        ['With the present configuration', now],
        ['Key', key?.text ?? key?.hex ?? 'none']
      ]),
      h('h3', {}, value === null ? 'No value' : `Value, ${plural(value.bytes, 'byte')}`),
      value !== null && value.text !== undefined && h('pre', { tabindex: 0 }, value.text),
      value !== null && h('pre', { tabindex: 0 }, bytesOf(value.hex)),
      h(
        'button',
        { type: 'button', onclick: (event) => void replay(event.target, topic, reason) },
        'Replay all of this reason'
      )
    )
  }

  /** Asked for once more: it cannot be undone. */
  async function replay(button, topic, reason) {
    if (button.dataset.sure === undefined) {
      button.dataset.sure = ''
      button.textContent = 'Replay: append them to their topic again?'
      return
    }
    button.disabled = true
    try {
      const { replayed } = await replayDeadLetters(topic, reason)
      said.textContent = `${plural(replayed, 'record')} appended again. What still cannot be used comes back as a new dead letter.`
      said.className = 'said done'
      await load()
    } catch (error) {
      said.textContent = error.message
      said.className = 'said bad'
      button.disabled = false
    }
  }

  void load()
  return {
    title: 'Bad records',
    close() {
      closed = true
    }
  }
}

/** 16 bytes a line. */
const bytesOf = (hex) =>
  (hex.match(/.{1,32}/g) ?? [])
    .map((line, i) => `${(16 * i).toString(16).padStart(6, '0')}  ${line.match(/../g).join(' ')}`)
    .join('\n')
