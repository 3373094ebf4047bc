// Progressive hit rate over the stream: the model beside simple methods, as a chart with a cursor and as a table.

import { axisTime, card, compact, count, date, dateTime, empty, h, ratio, row, s, table } from './dom.js'

const methods = { model: 'Model', cooccurrence: 'Co-occurrence', popularity: 'Popularity' }
const height = 304
const edge = { top: 8, right: 8, bottom: 40, left: 40 }

export function qualityChart() {
  const drawing = s('svg', {
    role: 'img',
    'aria-label': 'Progressive hit rate at 20 over the stream',
    height,
    tabindex: 0
  })
  const legend = h('ul', { class: 'legend' })
  const nothing = empty('The first point appears after some hundred targets.')
  const figures = h('div', { class: 'scroll' })
  const details = h('details', {}, h('summary', {}, 'As a table'), figures)
  const element = card(
    'Progressive hit rate@20',
    'Each target is ranked among all items before the model trains on it, the history excluded.',
    legend,
    nothing,
    drawing,
    details
  )
  let curve = []
  let at // index of the point under the cursor
  let width = 0

  function draw() {
    const shown = curve.length > 1 && width > 100
    nothing.hidden = shown
    for (const part of [drawing, legend, details]) part.toggleAttribute('hidden', !shown)
    drawing.style.display = shown ? '' : 'none'
    if (!shown) return
    const inner = { width: width - edge.left - edge.right, height: height - edge.top - edge.bottom }
    const last = curve.at(-1).examples
    const top = niceAbove(
      Math.max(0.02, ...curve.flatMap((point) => Object.keys(methods).map((method) => point[method])))
    )
    const x = (examples) => edge.left + (examples / last) * inner.width
    const y = (value) => edge.top + (1 - value / top) * inner.height
    const span = curve.at(-1).timeMs - curve[0].timeMs
    drawing.setAttribute('viewBox', `0 0 ${width} ${height}`)
    const parts = []
    for (let i = 0; i <= 4; i++) {
      const value = (top * i) / 4
      parts.push(s('line', { class: 'grid', x1: edge.left, x2: width - edge.right, y1: y(value), y2: y(value) }))
      parts.push(s('text', { x: edge.left - 8, y: y(value) + 4, 'text-anchor': 'end' }, value.toFixed(2)))
    }
    const ticks = ticksOf(last, inner.width)
    for (const examples of ticks) {
      const anchor = examples === 0 ? 'start' : x(examples) > width - edge.right - 20 ? 'end' : 'middle'
      parts.push(s('text', { x: x(examples), y: height - edge.bottom + 18, 'text-anchor': anchor }, compact(examples)))
      if (examples > 0)
        parts.push(
          s(
            'text',
            { x: x(examples), y: height - edge.bottom + 34, 'text-anchor': anchor, opacity: 0.75 },
            axisTime(timeAt(curve, examples), span)
          )
        )
    }
    for (const method of Object.keys(methods).reverse()) {
      const points = curve.map((point) => `${x(point.examples).toFixed(1)},${y(point[method]).toFixed(1)}`)
      parts.push(s('polyline', { class: `series ${method}`, points: points.join(' ') }))
    }
    const point = curve[at ?? curve.length - 1]
    if (at !== undefined) {
      parts.push(
        s('line', {
          class: 'cursor',
          x1: x(point.examples),
          x2: x(point.examples),
          y1: edge.top,
          y2: height - edge.bottom
        })
      )
      for (const method of Object.keys(methods).reverse())
        parts.push(s('circle', { class: `dot ${method}`, cx: x(point.examples), cy: y(point[method]), r: 4 }))
    }
    drawing.replaceChildren(...parts)
    legend.replaceChildren(
      ...Object.entries(methods).map(([method, name]) =>
        h(
          'li',
          { class: method },
          s(
            'svg',
            { viewBox: '0 0 26 8', 'aria-hidden': 'true' },
            s('line', { class: `series ${method}`, x1: 1, x2: 25, y1: 4, y2: 4 })
          ),
          name,
          h('b', {}, ratio(point[method]))
        )
      ),
      h(
        'li',
        { class: 'when' },
        at === undefined ? 'newest period' : `at ${count(point.examples)} · ${date(point.timeMs)}`
      )
    )
  }

  const move = (index) => {
    at = index === undefined ? undefined : Math.min(curve.length - 1, Math.max(0, index))
    draw()
  }
  drawing.addEventListener('pointermove', (event) => {
    const share = (event.clientX - drawing.getBoundingClientRect().left - edge.left) / (width - edge.left - edge.right)
    const examples = share * (curve.at(-1)?.examples ?? 0)
    let best = 0
    for (const [i, point] of curve.entries())
      if (Math.abs(point.examples - examples) < Math.abs(curve[best].examples - examples)) best = i
    move(best)
  })
  drawing.addEventListener('pointerleave', () => move(undefined))
  drawing.addEventListener('blur', () => move(undefined))
  drawing.addEventListener('keydown', ({ key }) => {
    if (key === 'ArrowLeft') move((at ?? curve.length) - 1)
    else if (key === 'ArrowRight') move((at ?? -1) + 1)
    else if (key === 'Escape') move(undefined)
  })
  new ResizeObserver(([entry]) => {
    width = Math.round(entry.contentRect.width)
    draw()
  }).observe(legend.parentElement)

  return {
    element,
    update(points) {
      if (
        points.length === curve.length &&
        points.at(-1)?.model === curve.at(-1)?.model &&
        points.at(-1)?.examples === curve.at(-1)?.examples
      )
        return
      curve = points
      if (at !== undefined) at = Math.min(at, curve.length - 1)
      draw()
      const rows = curve.map((point) =>
        row(
          count(point.examples),
          dateTime(point.timeMs),
          ...Object.keys(methods).map((method) => ratio(point[method]))
        )
      )
      figures.replaceChildren(table(['Examples', 'Stream clock', ...Object.values(methods)], 9, rows))
    }
  }
}

/** The next of these: a quarter of it is a short number. */
function niceAbove(value) {
  return [0.04, 0.08, 0.12, 0.2, 0.24, 0.32, 0.4, 0.48, 0.6, 0.8, 1].find((top) => top >= value) ?? 1
}

/** Round numbers, some 90 px apart. */
function ticksOf(last, width) {
  const rough = last / Math.max(2, Math.floor(width / 90))
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough)
  return Array.from({ length: Math.floor(last / step) + 1 }, (_, i) => i * step)
}

/** Stream clock after this many examples, interpolated between two points. */
function timeAt(curve, examples) {
  const after = curve.findIndex((point) => point.examples >= examples)
  if (after <= 0) return curve.at(after).timeMs
  const [a, b] = [curve[after - 1], curve[after]]
  return a.timeMs + ((b.timeMs - a.timeMs) * (examples - a.examples)) / Math.max(1, b.examples - a.examples)
}
