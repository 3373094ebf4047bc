// Users by their newest event and items by popularity, with a box that filters while one types.

import { items as askItems, users as askUsers } from './api.js'
import { choose, chosen, count, dateTime, empty, h, itemLink, nameOf, table, userLink } from './dom.js'
import { search } from './user.js'

/** Pause in typing before a request. */
const restMs = 150

export function browseUsers(root) {
  const list = browser(async (text, signal) => {
    const { users, order } = await askUsers(text, signal)
    if (users.length === 0) {
      return [
        note('Users'),
        text === ''
          ? empty('No user is published yet: they appear with their first clicks.')
          : h(
              'p',
              { class: 'empty' },
              `No user is known whose id begins with “${text}”. `,
              h('a', { href: userLink(text) }, 'Open it anyway'),
              ': an unknown user gets popular items.'
            )
      ]
    }
    const rows = users.map(({ userId, historyLength, newestMs }) =>
      h(
        'tr',
        {},
        h('td', { class: 'id' }, h('a', { href: userLink(userId) }, userId)),
        h('td', { class: 'right' }, count(historyLength)),
        h('td', { class: 'right' }, dateTime(newestMs))
      )
    )
    return [
      note(
        order === 'newest' ? 'By newest event' : 'By id',
        'Any id works: an unknown user gets popular items, and a personal list after one click.'
      ),
      table(['User', 'Steps', 'Newest event'], 1, rows)
    ]
  })
  root.append(
    h(
      'div',
      { class: 'head' },
      h('h1', {}, 'Users'),
      search(chosen().get('text') ?? '', (event) => list.ask(event.target.value))
    ),
    list.element
  )
  return { title: 'Users', close: list.close }
}

export function browseItems(root) {
  const list = browser(async (text, signal) => {
    const { items } = await askItems(text, signal)
    if (items.length === 0)
      return [note('Items'), empty(text === '' ? 'No item is published yet.' : `No title or id holds “${text}”.`)]
    const rows = items.map((one) =>
      h(
        'tr',
        {},
        h('td', { class: 'id' }, h('a', { href: itemLink(one.itemId) }, nameOf(one))),
        h('td', { class: 'soft' }, one.about ?? ''),
        text === '' && h('td', { class: 'right' }, one.popularity.toFixed(3)),
        h('td', { class: 'right' }, count(one.count))
      )
    )
    return [
      text === ''
        ? note('Popular now', 'Interactions decay with time; the most popular item has 1.')
        : note('Matches, by interactions'),
      table(text === '' ? ['Item', 'About', 'Popularity', 'Interactions'] : ['Item', 'About', 'Interactions'], 2, rows)
    ]
  })
  const input = h('input', {
    type: 'search',
    placeholder: 'Title or id',
    'aria-label': 'Title or id',
    autocomplete: 'off',
    maxlength: 1024,
    value: chosen().get('text'),
    oninput: (event) => list.ask(event.target.value)
  })
  const form = h('form', { role: 'search', onsubmit: (event) => event.preventDefault() }, input)
  root.append(h('div', { class: 'head' }, h('h1', {}, 'Items'), form), list.element)
  return { title: 'Items', close: list.close }
}

function browser(find) {
  const element = h('section', { class: 'card', 'aria-live': 'polite' }, h('p', { class: 'soft' }, 'Loading …'))
  let running
  let timer
  async function now(text) {
    running?.abort()
    running = new AbortController()
    const { signal } = running
    try {
      const content = await find(text.trim(), signal)
      if (!signal.aborted) element.replaceChildren(...content)
    } catch (error) {
      if (!signal.aborted) element.replaceChildren(h('p', { class: 'empty bad' }, error.message))
    }
  }
  void now(chosen().get('text') ?? '')
  return {
    element,
    ask(text) {
      choose({ text })
      clearTimeout(timer)
      timer = setTimeout(() => void now(text), restMs)
    },
    close() {
      clearTimeout(timer)
      running?.abort()
    }
  }
}

const note = (title, words) => h('div', {}, h('h2', {}, title), words && h('p', { class: 'soft small' }, words))
