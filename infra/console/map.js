// The plane on which a user's interests, the items nearest to them and the history lie.

import { h, nameOf, s } from './dom.js'

const size = { width: 520, height: 340, edge: 22 }
/** Distance at which the pointer selects a point, in pixels. */
const reach = 24

export function interestMap() {
  const drawing = s('svg', { viewBox: `0 0 ${size.width} ${size.height}`, role: 'img' })
  const tip = h('p', { class: 'tip', hidden: true })
  const key = (name, shape) => h('span', {}, s('svg', { viewBox: '0 0 14 14', 'aria-hidden': 'true' }, shape), name)
  const keys = h(
    'div',
    { class: 'keys' },
    key('interest', s('circle', { class: 'centre', cx: 7, cy: 7, r: 6.5 })),
    key('item near it', s('circle', { class: 'near', cx: 7, cy: 7, r: 4.5 })),
    key('history', s('rect', { class: 'past', x: 3, y: 3, width: 8, height: 8, rx: 1.5 }))
  )
  const element = h('div', { class: 'map' }, drawing, tip, keys)
  let points = []
  let earlier = new Map()

  function light(point) {
    for (const other of points) other.mark.classList.toggle('lit', other === point)
    tip.hidden = point === undefined
    if (point === undefined) return
    const scale = drawing.getBoundingClientRect().width / size.width
    tip.textContent = point.text
    tip.style.left = `${Math.min(point.x * scale + 10, size.width * scale - 160)}px`
    tip.style.top = `${point.y * scale + 10}px`
  }
  const find = (event) => {
    const box = drawing.getBoundingClientRect()
    const scale = box.width / size.width
    let best
    let bestDistance = reach
    for (const point of points) {
      const distance = Math.hypot(
        point.x * scale - (event.clientX - box.left),
        point.y * scale - (event.clientY - box.top)
      )
      if (distance < bestDistance) [best, bestDistance] = [point, distance]
    }
    light(best)
  }
  drawing.addEventListener('pointermove', find)
  drawing.addEventListener('pointerdown', find)
  drawing.addEventListener('pointerleave', () => light(undefined))

  return {
    element,
    update(profile) {
      points = []
      if (profile === undefined) return
      const placed = pointsOf(profile)
      face(placed, earlier)
      const place = placeIn(placed)
      const marks = placed.map((point) => {
        const [x, y] = place(point.at)
        const mark = markOf(point)
        points.push({ x, y, text: point.text, mark: mark.firstChild ?? mark })
        return s('g', { class: `i${(point.interest ?? 0) % 8}`, transform: `translate(${x} ${y})` }, mark)
      })
      earlier = new Map(placed.map((point) => [point.key, point]))
      drawing.setAttribute(
        'aria-label',
        `${profile.interests.length} interests among ${placed.length - profile.interests.length} items; the lists beside it hold the same`
      )
      drawing.replaceChildren(...marks)
    }
  }
}

/** Each item once, under the interest it is nearest to; what is drawn last lies on top. */
function pointsOf({ history, interests }) {
  const placed = new Map()
  const put = (one, kind, interest, text = nameOf(one)) => {
    if (one.at !== undefined)
      placed.set(one.itemId, { key: `item ${one.itemId}`, kind, at: one.at, interest, text, score: one.score })
  }
  for (const { interest, nearest } of interests) {
    for (const one of nearest) if (!(placed.get(one.itemId)?.score >= one.score)) put(one, 'near', interest)
  }
  for (const one of history) put(one, 'past', one.interest, `${nameOf(one)} (history)`)
  return [
    ...placed.values(),
    ...interests.map(({ interest, at }) => ({
      key: `interest ${interest}`,
      kind: 'centre',
      at,
      interest,
      text: `Interest ${interest + 1}`
    }))
  ]
}

/** A principal axis has no direction: each is turned so that points that were there before move least. */
function face(placed, earlier) {
  for (const axis of [0, 1]) {
    let sum = 0
    for (const { key, at } of placed) sum += (earlier.get(key)?.at[axis] ?? 0) * at[axis]
    if (sum < 0) for (const point of placed) point.at = point.at.map((value, i) => (i === axis ? -value : value))
  }
}

/** One scale for both axes, so that near means near. */
function placeIn(placed) {
  const range = (axis) => [Math.min(...placed.map(({ at }) => at[axis])), Math.max(...placed.map(({ at }) => at[axis]))]
  const [left, right] = range(0)
  const [bottom, top] = range(1)
  const scale = Math.min(
    (size.width - 2 * size.edge) / Math.max(1e-6, right - left),
    (size.height - 2 * size.edge) / Math.max(1e-6, top - bottom)
  )
  return ([x, y]) => [
    Math.round((size.width / 2 + (x - (left + right) / 2) * scale) * 10) / 10,
    Math.round((size.height / 2 - (y - (bottom + top) / 2) * scale) * 10) / 10
  ]
}

function markOf({ kind, interest }) {
  if (kind === 'near') return s('circle', { class: 'near', r: 5.5 })
  if (kind === 'past') return s('rect', { class: 'past', x: -4.5, y: -4.5, width: 9, height: 9, rx: 1.5 })
  return s('g', {}, s('circle', { class: 'centre', r: 12 }), s('text', { y: 4.5 }, String(interest + 1)))
}
