// Attribution: which lists were clicked, by arm of the experiment, version, position and origin.

import { attribution } from './api.js'
import { card, choose, chosen, count, dateTime, empty, h, pairs, ratio, refill, row, table } from './dom.js'

const everyMs = 5000

const origins = {
  'interest5+': 'fifth and further interests of the list',
  memory: 'often taken after the history',
  popular: 'popular',
  similar: 'similar to an item',
  later: 'beyond the first 50 items'
}
const nth = ['first', 'second', 'third', 'fourth']

export function experimentsPage(root) {
  let closed = false
  let askedMs = 0
  const facts = h('p', { class: 'facts' }, 'Loading …')
  const body = h('div', { class: 'stack' })
  const only = h('select', {
    onchange: () => {
      choose({ variant: only.value })
      void load()
    }
  })
  const remembered = chosen().get('variant') ?? ''
  setNames(remembered === '' ? [] : [remembered])
  only.value = remembered
  root.append(
    h(
      'div',
      { class: 'head' },
      h('div', {}, h('h1', {}, 'Experiments'), facts),
      h('form', { onsubmit: (event) => event.preventDefault() }, h('label', {}, 'Lists of ', only))
    ),
    body
  )

  /** Options that are there stay, and so does the choice. */
  function setNames(names) {
    const known = [...only.options].map(({ value }) => value)
    for (const name of ['', ...names])
      if (!known.includes(name)) only.append(h('option', { value: name }, name === '' ? 'all variants' : name))
  }

  async function load() {
    askedMs = Date.now()
    try {
      const [found, all] = await Promise.all([attribution(only.value), attribution('')])
      if (closed) return
      setNames(all.variants.map(({ variant }) => variant))
      facts.textContent = `Lists that this process answered since ${dateTime(found.sinceMs)}, and the clicks on them.`
      show(found, all)
    } catch (error) {
      if (!closed) body.replaceChildren(h('p', { class: 'empty bad' }, error.message))
    }
  }

  function show(found, all) {
    refill(
      body,
      card(
        'Variants',
        'Click-through: lists with a click, with its standard error. A difference counts as more than chance from twice its error on.',
        all.variants.length === 0 ? noLists() : variantTable(all.variants)
      ),
      h(
        'div',
        { class: 'two' },
        card(
          'By position',
          'Items of these lists, and clicks on them.',
          itemTable('Position', found.positions, 'position')
        ),
        card(
          'By origin',
          'What put the item into the list; interests in the order in which they come in it.',
          itemTable('Origin', found.origins, 'origin')
        )
      ),
      h(
        'div',
        { class: 'two' },
        card('By index version', null, listTable('Version', found.versions, 'version')),
        card('By source', null, listTable('Source', found.sources, 'source'))
      ),
      card(
        'Events read for clicks',
        'Only attributed ones count. What else can become of an event with a listId: docs/experiments.md.',
        pairs(h('dl', { class: 'pairs' }), [
          ['read', count(found.events.read)],
          ...Object.entries(found.events.outcomes)
            .filter(([, n]) => n > 0)
            .map(([name, n]) => [name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`), count(n)])
        ])
      )
    )
  }

  void load()
  return {
    title: 'Experiments',
    update() {
      if (Date.now() - askedMs >= everyMs) void load()
    },
    close() {
      closed = true
    }
  }
}

const noLists = () => empty('No list was answered yet. Send the listId of a list with the events on its items.')
const share = (n) => (n === null ? '–' : `${(100 * n).toFixed(1)}%`)
const withError = (n, error) =>
  n === null ? '–' : error === null ? share(n) : `${share(n)} ± ${(100 * error).toFixed(1)}`

function variantTable(variants) {
  const base = variants.find(({ variant }) => variant === 'default')
  return table(
    ['Variant', 'Users', 'Lists', 'Clicked', 'Click-through', 'Beside default', 'hit@1', 'hit@10'],
    1,
    variants.map((one) =>
      numbers(
        one.variant,
        ...[
          share(one.share),
          count(one.lists),
          count(one.clickedLists),
          withError(one.clickThrough, one.standardError)
        ],
        one === base ? '' : difference(one, base),
        ...[1, 10].map((k) => hitAt(one, k))
      )
    )
  )
}

function difference(one, base) {
  if (base === undefined || one.clickThrough === null || base.clickThrough === null) return '–'
  const points = 100 * (one.clickThrough - base.clickThrough)
  const sign = points >= 0 ? '+' : '−'
  if (one.standardError === null || base.standardError === null) return `${sign}${Math.abs(points).toFixed(1)} points`
  const error = 100 * Math.hypot(one.standardError, base.standardError)
  const words = Math.abs(points) > 2 * error ? 'more than chance' : 'may be chance'
  return `${sign}${Math.abs(points).toFixed(1)} ± ${error.toFixed(1)} points, ${words}`
}

function hitAt({ hits }, wanted) {
  const found = hits.find(({ k }) => k === wanted)
  return found === undefined || found.rate === null ? '–' : ratio(found.rate)
}

function listTable(title, rows, field) {
  if (rows.length === 0) return noLists()
  return table(
    [title, 'Lists', 'Click-through', 'hit@10'],
    1,
    rows.map((one) =>
      numbers(one[field], count(one.lists), withError(one.clickThrough, one.standardError), hitAt(one, 10))
    )
  )
}

function itemTable(title, rows, field) {
  const shown = rows.filter(({ items, clicks }) => items > 0 || clicks > 0)
  if (shown.length === 0) return noLists()
  return table(
    [title, 'Items', 'Clicks', 'Click-through'],
    1,
    shown.map((one) => numbers(named(one[field]), count(one.items), count(one.clicks), share(one.clickThrough)))
  )
}

function named(value) {
  const interest = /^interest([1-4])$/.exec(value)
  return interest === null ? (origins[value] ?? value) : `${nth[interest[1] - 1]} interest of the list`
}

function numbers(name, ...values) {
  const cells = row(name, ...values)
  for (const cell of [...cells.children].slice(1)) cell.className = 'right'
  return cells
}
