// One item: its payload in the index, and the items nearest to it.

import { item as askItem, similar } from './api.js'
import { card, count, dateTime, empty, h, nameOf, pairs, plural, rowList } from './dom.js'
import { row } from './user.js'

export function itemPage(root, id) {
  let closed = false
  const title = h('h1', {}, id)
  const facts = h('p', { class: 'facts' }, 'Loading …')
  const body = h('div', { class: 'wide' })
  root.append(h('div', { class: 'head' }, h('div', {}, h('p', { class: 'soft small' }, 'Item'), title, facts)), body)

  load().catch((error) => {
    facts.textContent = ''
    body.replaceChildren(h('p', { class: 'empty bad' }, error.message))
  })

  async function load() {
    const item = await askItem(id)
    if (closed) return
    if (item === undefined) {
      facts.textContent = 'Not in the index: unknown, or not published yet.'
      body.replaceChildren(
        h(
          'p',
          { class: 'empty' },
          'An item gets a vector after the model has trained on its first interactions, or when the catalogue describes it.'
        )
      )
      return
    }
    const { items } = await similar(id)
    if (closed) return
    title.textContent = nameOf(item)
    document.title = `${nameOf(item)} · MTMI Stream`
    facts.textContent = [
      item.title !== undefined && `id ${id}`,
      plural(item.count, 'interaction'),
      `vector of ${dateTime(item.updatedAtMs)}`
    ]
      .filter(Boolean)
      .join(' · ')
    const fields = Object.entries(item.features)
    body.replaceChildren(
      card(
        'Similar items',
        'By the cosine of their vectors.',
        items.length > 0 ? rowList(items.map((one) => row(one, false))) : empty('There is no other item.')
      ),
      card(
        'Payload',
        'What the index stores with the vector.',
        pairs(h('dl', { class: 'pairs' }), [
          ['Interactions', count(item.count)],
          ...fields.map(([name, values]) => [name, values.join(', ')])
        ]),
        fields.length === 0 && h('p', { class: 'soft small more' }, 'The catalogue has no features of it.')
      )
    )
  }

  return {
    title: `Item ${id}`,
    close() {
      closed = true
    }
  }
}
