// One user: history, interests, map and recommendations; a click is sent as a real event, to see the list change.

import { user as askUser, listFor, post, recommendations, userBriefly, users } from './api.js'
import {
  badge,
  card,
  count,
  dateTime,
  duration,
  empty,
  h,
  itemLink,
  nameOf,
  plural,
  refill,
  rowList,
  userLink
} from './dom.js'
import { interestMap } from './map.js'
import { playground } from './playground.js'

/** Interval of checks for new vectors, and how long they may take. */
const lookMs = 150
const patienceMs = 30_000
/** A stream whose clock is further behind is a replay: a click then follows its newest event. */
const liveMs = 3_600_000
const historyShown = 10

export function userPage(root, id, shared) {
  let profile // undefined: no vectors
  let list
  let closed = false
  let busy = false
  let allHistory = false
  const facts = h('p', { class: 'facts' }, 'Loading …')
  const body = h('div', { class: 'stack' })
  const said = h('p', { class: 'said', role: 'status' })
  const map = interestMap()
  const tried = playground(id, () => profile)
  root.append(
    h(
      'div',
      { class: 'head' },
      h('div', {}, h('p', { class: 'soft small' }, 'User'), h('h1', {}, id), facts),
      search('')
    ),
    h('div', { class: 'stack' }, body, tried.element)
  )

  async function load() {
    const asked = await recommendations(id)
    // In an arm of popular items the list says nothing of the user.
    profile = asked.coldStart === undefined || asked.variant !== undefined ? await askUser(id) : undefined
    list = asked
  }

  load().then(
    () => {
      if (closed) return
      show()
      void tried.load()
    },
    (error) => {
      facts.textContent = ''
      body.replaceChildren(
        h('p', { class: 'empty bad' }, error.message),
        h(
          'p',
          {},
          h('button', { type: 'button', onclick: () => dispatchEvent(new HashChangeEvent('hashchange')) }, 'Try again')
        )
      )
    }
  )

  function tellFacts() {
    if (list === undefined) return
    const notPersonal = list.why === undefined ? [] : [`Not personal: ${list.why}`]
    if (profile === undefined) {
      facts.textContent = `${notPersonal.join()}.`
      return
    }
    const ageMs = Math.max(0, (shared.status?.nowMs ?? profile.updatedAtMs) - profile.updatedAtMs)
    facts.textContent = [
      ...notPersonal,
      ...(list.variant === undefined ? [] : [`variant ${list.variant}`]),
      `${plural(profile.historyLength, 'step')} of history, the newest ${dateTime(profile.newestMs)}`,
      `vectors ${duration(ageMs)} old`,
      profile.version
    ].join(' · ')
  }

  function show(before) {
    tellFacts()
    map.update(profile)
    const right =
      profile === undefined
        ? [coldCard()]
        : [profile.mapShare !== undefined && mapCard(), historyCard()].filter(Boolean)
    refill(
      body,
      h('div', { class: 'two' }, listCard(before), h('div', { class: 'stack' }, ...right)),
      ...(profile === undefined
        ? []
        : [
            h('h2', {}, 'Interests, by the items nearest to them'),
            h('div', { class: 'interests' }, ...profile.interests.map(interestCard(profile)))
          ])
    )
  }

  function listCard(before) {
    const titles = new Map((profile?.history ?? []).map((one) => [one.itemId, nameOf(one)]))
    const ranks = before && new Map(before.items.map(({ itemId }, rank) => [itemId, rank]))
    const rows = list.items.map((one, rank) => {
      const move = ranks === undefined ? 0 : ranks.has(one.itemId) ? ranks.get(one.itemId) - rank : 'new'
      const named = (itemIds = []) => itemIds.map((itemId) => titles.get(itemId) ?? itemId)
      const because = named(one.because)
      const takenAfter = named(one.takenAfter)
      return h(
        'li',
        { class: move === 'new' && 'new', 'data-item': one.itemId },
        badge(one.interest),
        h(
          'div',
          { class: 'what' },
          h('a', { class: 'name', href: itemLink(one.itemId) }, nameOf(one)),
          move === 'new' && h('span', { class: 'move' }, 'new'),
          move > 0 && h('span', { class: 'move', title: `${plural(move, 'place')} up` }, `▲ ${move}`),
          move < 0 && h('span', { class: 'move down', title: `${plural(-move, 'place')} down` }, `▼ ${-move}`),
          (one.about || one.title !== undefined) &&
            h(
              'p',
              { class: 'about' },
              [one.about, one.title !== undefined && `id ${one.itemId}`].filter(Boolean).join(' · ')
            ),
          because.length > 0 && h('p', { class: 'about' }, `because of ${because.join(' · ')}`),
          takenAfter.length > 0 && h('p', { class: 'about' }, `often taken after ${takenAfter.join(' · ')}`),
          list.coldStart === 'popular' &&
            h(
              'p',
              { class: 'about' },
              one.score >= 1 ? 'the most popular' : `${(one.score * 100).toFixed(0)}% as popular as the most popular`
            )
        ),
        one.interest !== null && h('span', { class: 'score', title: 'By all interests' }, one.score.toFixed(3)),
        h(
          'button',
          {
            type: 'button',
            class: 'click',
            disabled: busy,
            'aria-label': `Click ${nameOf(one)} as ${id}`,
            onclick: () => void click(one)
          },
          'Click'
        )
      )
    })
    return card(
      'Recommendations',
      list.coldStart === 'popular'
        ? 'Popular now, recent clicks count most. One click is enough to get a personal list.'
        : 'The number is the interest that found it. A click is sent as a real event: watch the list change.',
      said,
      rows.length > 0
        ? h('ol', { class: 'rows', id: 'list' }, rows)
        : empty('Nothing to recommend: all items are in the history.')
    )
  }

  const mapCard = () =>
    card(
      'Map of interests',
      `The plane along which the interests differ most (${Math.round(profile.mapShare * 100)}% of their variance), and where items lie on it.`,
      map.element
    )

  function historyCard() {
    const steps = allHistory ? profile.history : profile.history.slice(0, historyShown)
    const hidden = profile.history.length - steps.length
    return card(
      'History',
      'Newest first; the number is the interest that is nearest.',
      rowList(steps.map((one) => row(one))),
      hidden > 0 &&
        h(
          'button',
          {
            type: 'button',
            class: 'more',
            onclick: () => {
              allHistory = true
              show()
            }
          },
          `Show ${hidden} more`
        )
    )
  }

  const coldCard = () =>
    card(
      'Unknown user',
      'History, interests and map appear here after the first click on an item that the model knows.'
    )

  async function click(one) {
    busy = true
    for (const button of body.querySelectorAll('button.click')) button.disabled = true
    const say = (words, kind = '') => {
      said.textContent = words
      said.className = `said ${kind}`
    }
    const startedMs = performance.now()
    const seconds = () => ((performance.now() - startedMs) / 1000).toFixed(2)
    const before = { updatedAtMs: profile?.updatedAtMs ?? 0, items: list.items }
    try {
      await post({
        userId: id,
        itemId: one.itemId,
        type: shared.status?.eventTypes[0] ?? 'click',
        listId: list.listId,
        ...(await eventTime())
      })
      for (;;) {
        if (closed) return
        say(`Sent the click on “${nameOf(one)}”. Waiting for new vectors … ${seconds()} s`)
        if (await followed(one.itemId, before.updatedAtMs)) break
        if (performance.now() - startedMs > patienceMs)
          throw new Error(
            `No new vectors within ${duration(patienceMs)}. The event is in the log; the overview shows which stage lags.`
          )
        await new Promise((resolve) => setTimeout(resolve, lookMs))
      }
      const tookSeconds = seconds()
      await load()
      if (closed) return
      const fresh = list.items.filter(({ itemId }) => !before.items.some((other) => other.itemId === itemId)).length
      say(`The list followed in ${tookSeconds} s: ${fresh} of ${list.items.length} are new.`, 'done')
      busy = false
      show(before)
      void tried.load()
    } catch (error) {
      say(error.message, 'bad')
      busy = false
      for (const button of body.querySelectorAll('button.click')) button.disabled = false
    }
  }

  /** Whether there are vectors made since then, with the item in their history. */
  async function followed(itemId, sinceMs) {
    if (profile === undefined) return (await listFor(id, { variant: 'default' })).coldStart === undefined
    const now = await userBriefly(id)
    return now !== undefined && now.updatedAtMs > sinceMs && now.history.some((step) => step.itemId === itemId)
  }

  /** In a replay, right after the newest event: dated today it would make everything in the log old. */
  async function eventTime() {
    const nowMs = shared.status?.nowMs ?? Date.now()
    const others = shared.status?.newestEventMs === undefined && profile === undefined ? (await users('')).users : []
    const known = [shared.status?.newestEventMs, profile?.newestMs, ...others.map(({ newestMs }) => newestMs)].filter(
      (ms) => ms !== undefined
    )
    const newestMs = Math.max(...known)
    return known.length === 0 || nowMs - newestMs < liveMs ? {} : { eventTime: newestMs + 1000 }
  }

  return {
    title: `User ${id}`,
    update: tellFacts,
    close() {
      closed = true
      tried.close()
    }
  }
}

/** Steps that an interest explains, below which there is little evidence for it. */
const evidenceMin = 2

/** Of one interest: named by what its items have in common, and as strong as the share of the history that it explains. */
function interestCard({ interests, historyLength }) {
  const names = namesOf(interests)
  return ({ interest, strength, nearest }, i) => {
    const weak = strength !== undefined && strength * historyLength < evidenceMin
    const share = strength === undefined ? '' : `${Math.round(100 * strength)}% of the history`
    return h(
      'section',
      { class: `card i${interest % 8}${weak ? ' weak' : ''}` },
      h('h2', {}, badge(interest), names[i] ?? `Interest ${interest + 1}`),
      strength !== undefined &&
        h(
          'div',
          { class: 'strength' },
          h('meter', { min: 0, max: 1, value: strength, 'aria-label': `Strength of interest ${interest + 1}` }),
          h('p', { class: 'soft small' }, weak ? `${share}: little evidence` : share)
        ),
      rowList(nearest.map((one) => row(one, false)))
    )
  }
}

/** At least this many of an interest's items have the feature that names it. */
const namedShare = 0.5

/** Of each interest the features that half of its items have, those first that other interests have least. */
function namesOf(interests) {
  const counts = interests.map(({ nearest }) => {
    const values = new Map()
    for (const { about = '' } of nearest)
      for (const value of new Set(about.split(', '))) if (value !== '') values.set(value, (values.get(value) ?? 0) + 1)
    return values
  })
  return counts.map((values, i) => {
    const elsewhere = (value) => counts.reduce((sum, other, j) => sum + (j === i ? 0 : (other.get(value) ?? 0)), 0)
    const named = [...values].filter(([, n]) => n >= namedShare * interests[i].nearest.length)
    named.sort(([a, n], [b, m]) => m - elsewhere(b) / interests.length - (n - elsewhere(a) / interests.length))
    return named.length === 0
      ? undefined
      : named
          .slice(0, 2)
          .map(([value]) => value)
          .join(', ')
  })
}

/** An item as a line of a list. */
export function row(one, withInterest = true) {
  return h(
    'li',
    {},
    withInterest && badge(one.interest),
    h(
      'div',
      { class: 'what' },
      h('a', { class: 'name', href: itemLink(one.itemId) }, nameOf(one)),
      one.about && h('p', { class: 'about' }, one.about)
    ),
    one.score !== undefined && h('span', { class: 'score' }, one.score.toFixed(3)),
    one.count !== undefined && h('span', { class: 'score' }, count(one.count))
  )
}

/** The box that goes to a user's page. */
export function search(value, oninput) {
  const input = h('input', {
    type: 'search',
    value,
    placeholder: 'User id',
    'aria-label': 'User id',
    autocomplete: 'off',
    spellcheck: 'false',
    maxlength: 1024,
    oninput
  })
  const go = (event) => {
    event.preventDefault()
    if (input.value.trim() !== '') location.hash = userLink(input.value.trim())
  }
  return h('form', { role: 'search', onsubmit: go }, input, h('button', {}, 'Open'))
}
