// Elements, and numbers as people read them.

/**
 * An element. Attributes: `on…` adds a listener, null and false are left out. Text is always text, never markup.
 */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children)
}

/** The same within a drawing. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children)
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else element.setAttribute(name, value === true ? '' : String(value))
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false))
  return element
}

const whole = new Intl.NumberFormat('en')
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })

/** 12,345; from a million on 1.2M. */
export const count = (n) => (n < 1e6 ? whole.format(Math.round(n)) : short.format(n))
export const compact = (n) => short.format(n)
/** 0.301 */
export const ratio = (n) => n.toFixed(3)
export const rate = (n) => (n === undefined ? '–' : `${n < 10 && n > 0 ? n.toFixed(1) : count(n)}/s`)

/** 84 ms, 1.3 s, 4 min, 2 h, 3 days */
export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h`
  return `${count(ms / 86_400_000)} days`
}

const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric' })
const moment = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  year: 'numeric',
  hour: '2-digit',
  minute: '2-digit'
})
const shortDay = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' })
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' })
export const date = (ms) => day.format(ms)
export const dateTime = (ms) => moment.format(ms)
/** For an axis that spans `spanMs`: a date, or for two days and less a time of day. */
export const axisTime = (ms, spanMs) => (spanMs > 172_800_000 ? shortDay : clock).format(ms)

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`
export const nameOf = ({ itemId, title }) => title ?? itemId
export const userLink = (id) => `#/user/${encodeURIComponent(id)}`
export const itemLink = (id) => `#/item/${encodeURIComponent(id)}`

/** The number of an interest in its colour. */
export function badge(interest) {
  if (interest === null || interest === undefined) return h('span', { class: 'badge none', 'aria-hidden': 'true' }, '·')
  return h(
    'span',
    { class: `badge i${interest % 8}`, title: `Interest ${interest + 1}`, 'aria-label': `Interest ${interest + 1}` },
    String(interest + 1)
  )
}

/** @param note a line below the title, or null */
export const card = (title, note, ...children) =>
  h('section', { class: 'card' }, h('h2', {}, title), note && h('p', { class: 'note' }, note), ...children)
export const empty = (text) => h('p', { class: 'empty' }, text)
export const rowList = (rows) => h('ol', { class: 'rows' }, rows)

/** Names and values, in the list `list`. */
export function pairs(list, entries) {
  list.replaceChildren(...entries.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))))
  return list
}

export const row = (...cells) => h('tr', {}, ...cells.map((cell) => h('td', {}, cell)))

/** It scrolls where it is wider than the page. @param right first column of numbers @param rows `tr` elements */
export const table = (names, right, rows) =>
  h(
    'div',
    { class: 'more across', tabindex: 0, role: 'group', 'aria-label': names.join(', ') },
    bareTable(names, right, rows)
  )

const bareTable = (names, right, rows) =>
  h(
    'table',
    {},
    h(
      'thead',
      {},
      h(
        'tr',
        {},
        names.map((name, i) => h('th', { scope: 'col', class: i >= right && 'right' }, name))
      )
    ),
    h('tbody', {}, rows)
  )

/** What is chosen on a page is kept behind its address, so that it survives a reload and can be sent to others. */
export const chosen = () => new URLSearchParams(location.hash.split('?')[1] ?? '')
export function choose(options) {
  const query = new URLSearchParams(Object.entries(options).filter(([, value]) => value !== '')).toString()
  history.replaceState(null, '', location.hash.split('?')[0] + (query === '' ? '' : `?${query}`))
}

const focusable = 'a, button, input, select, summary, [tabindex]'

/** Replaces the content: what was focused or scrolled sideways stays so, by its place among its like. */
export function refill(parent, ...children) {
  const all = (selector) => [...parent.querySelectorAll(selector)]
  const scrolled = all('.across').map(({ scrollLeft }) => scrollLeft)
  const focused = all(focusable).indexOf(document.activeElement)
  parent.replaceChildren(...children)
  for (const [i, region] of all('.across').entries()) region.scrollLeft = scrolled[i] ?? 0
  all(focusable)[focused]?.focus({ preventScroll: true })
}
