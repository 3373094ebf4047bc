// Lists of a user with other options, beside the items like the newest one, and what is popular.

import { attribution, listFor, listLike, listPopular } from './api.js'
import { badge, card, choose, chosen, h, itemLink, nameOf } from './dom.js'

/** Pause after a change before the lists are made. */
const restMs = 250

/** @param profile () → the user as it is shown; undefined: no vectors */
export function playground(id, profile) {
  let timer
  let running
  const given = chosen()
  // The value comes last: before its bounds are there a slider would round it.
  const input = (name, { value = '', ...attributes }) =>
    h('input', { name, autocomplete: 'off', ...attributes, value: given.get(name) ?? value })
  const range = (name, value) => input(name, { type: 'range', min: 0, max: 1, step: 0.1, value })
  const check = (name) => h('input', { name, type: 'checkbox', value: 'true', checked: given.get(name) === 'true' })
  const variant = h('select', { name: 'variant' }, h('option', { value: '' }, 'their own'))
  const labelled = (words, element) => h('label', {}, words, element)
  const ticked = (words, element) => h('label', { class: 'check' }, element, words)
  const form = h(
    'form',
    { class: 'options', oninput: changed, onsubmit: (event) => event.preventDefault() },
    labelled('Diversity', range('diversity', 0)),
    labelled('… by field', input('diversityBy', { type: 'text', placeholder: 'vectors' })),
    labelled('Quota of interests', range('quota', 0.4)),
    labelled('Filter: field', input('field', { type: 'text', placeholder: 'category' })),
    labelled('value', input('is', { type: 'text', placeholder: 'Books, !Books, >=10' })),
    labelled('Variant', variant),
    ticked('Without the memory', check('withoutMemory')),
    ticked('Seen items too', check('repeats'))
  )
  const columns = ['This model', 'Like the newest item', 'Popular now'].map((title) => {
    const list = h('div', {}, h('p', { class: 'soft' }, 'Loading …'))
    return { title, list, element: h('section', {}, h('h3', {}, title), list) }
  })
  const said = h('p', { class: 'warnings', role: 'status' })
  const element = card(
    'Playground',
    'The same request to three methods. The lists of the model are not counted in experiments. The options of a variant apply where none is set here.',
    ...[
      form,
      said,
      h(
        'div',
        { class: 'three' },
        columns.map((column) => column.element)
      )
    ]
  )

  void attribution('').then(
    ({ variants }) => {
      for (const { variant: name, share } of variants)
        if (share !== null) variant.append(h('option', { value: name }, name))
      variant.value = given.get('variant') ?? ''
    },
    () => undefined // without an admin token there is no choice
  )

  function changed() {
    choose(values())
    clearTimeout(timer)
    timer = setTimeout(() => void load(), restMs)
  }

  const values = () => Object.fromEntries(new FormData(form))

  async function load() {
    running?.abort()
    running = new AbortController()
    const { signal } = running
    const { field, is, withoutMemory, repeats, variant: arm, diversity, diversityBy, quota } = values()
    const filter = field === '' || is === '' ? {} : { [`filter.${field}`]: is }
    const name = arm ?? ''
    // An arm is tried with its own options, and is not counted; without a choice `default` is not counted either.
    const options = {
      ...filter,
      variant: name === '' ? 'default' : name,
      ...(name === '' || diversity !== '0' ? { diversity } : {}),
      ...(diversityBy === '' ? {} : { diversityBy }),
      ...(name === '' || quota !== '0.4' ? { quota } : {}),
      ...(withoutMemory === 'true' ? { memory: false } : {}),
      ...(repeats === 'true' ? { repeats: true } : {})
    }
    const newest = profile()?.history[0]
    const lists = await Promise.allSettled([
      listFor(id, options),
      newest === undefined ? undefined : listLike(newest.itemId, filter),
      listPopular(filter)
    ])
    if (signal.aborted) return
    const first = lists[0].value?.items ?? []
    said.textContent = [...new Set(lists.flatMap(({ value }) => value?.warnings ?? []))].join(' ')
    for (const [i, { list }] of columns.entries()) {
      const { value, reason } = lists[i]
      if (reason !== undefined) list.replaceChildren(h('p', { class: 'empty bad' }, reason.message))
      else if (value === undefined) list.replaceChildren(h('p', { class: 'soft' }, 'The user has no history.'))
      else if (value.items.length === 0) list.replaceChildren(h('p', { class: 'soft' }, 'No item.'))
      else
        list.replaceChildren(
          h(
            'ol',
            { class: 'rows' },
            value.items.map((one) => line(one, i === 0, i > 0 && first.some(({ itemId }) => itemId === one.itemId)))
          )
        )
    }
  }

  return {
    element,
    load,
    close() {
      clearTimeout(timer)
      running?.abort()
    }
  }
}

const line = (one, withInterest, shared) =>
  h(
    'li',
    {},
    withInterest && badge(one.interest),
    h(
      'div',
      { class: 'what' },
      h('a', { class: 'name', href: itemLink(one.itemId) }, nameOf(one)),
      (one.about || shared) &&
        h('p', { class: 'about' }, [one.about, shared && 'also in the first list'].filter(Boolean).join(' · '))
    )
  )
