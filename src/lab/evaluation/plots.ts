// Plots as SVG text: axes and words in the colour of the text around them, series in one palette that reads on light
// and dark.

import type { PlotOptions } from '@observablehq/plot'
import { ConfigError } from '../../core/errors.ts'

// Optional packages, some 60 with what they need: a server has no use for them.
const [Plot, { parseHTML }] = await Promise.all([import('@observablehq/plot'), import('linkedom')]).catch((cause) => {
  if ((cause as { code?: unknown }).code !== 'ERR_MODULE_NOT_FOUND') throw cause
  throw new ConfigError([
    'plots need the optional packages @observablehq/plot and linkedom: install them with `npm install --include=optional`'
  ])
})

/**
 * Of a series by its place: blue, orange, green, purple, red, grey; by Okabe and Ito, lightened where the dark ground
 * needs it.
 */
const palette = ['#3b82c4', '#e0872e', '#2f9e77', '#a970c4', '#d6604d', '#8a8f98'] as const

const width = 760

interface SeriesPoint {
  readonly series: string
  readonly x: number
  /** Left out where there is none. */
  readonly y: number | null
}

interface LineChart {
  readonly xLabel: string
  readonly yLabel: string
  readonly points: readonly SeriesPoint[]
  /** Default: linear. */
  readonly xScale?: 'linear' | 'log'
  /** Default: from 0. */
  readonly yFromZero?: boolean
  /** Where x is a place in a list: the words for each place. */
  readonly xNames?: readonly string[]
}

/** One line a series, named at its right end. */
export function lineChart({ xLabel, yLabel, points, xScale = 'linear', yFromZero = true, xNames }: LineChart): string {
  const known = points.filter((point): point is KnownPoint => point.y !== null)
  const series = [...new Set(known.map((point) => point.series))]
  return svg({
    height: 330,
    marginLeft: 56,
    marginBottom: 44,
    marginRight: 12 + 6.5 * Math.max(4, ...series.map((name) => name.length)),
    x: {
      label: xLabel,
      labelOffset: 38,
      type: xScale,
      ...(xNames === undefined ? wholeTicks(known) : namedTicks(xNames))
    },
    y: { label: yLabel, grid: true, ...(yFromZero ? { zero: true } : {}), nice: true },
    color: colours(series),
    marks: [
      Plot.lineY(known, { x: 'x', y: 'y', stroke: 'series', strokeWidth: 1.8 }),
      ...(known.length <= 200 ? [Plot.dot(known, { x: 'x', y: 'y', fill: 'series', r: 2.5 })] : []),
      Plot.text(endLabels(known, yFromZero), {
        x: 'x',
        y: 'y',
        text: 'series',
        fill: 'series',
        textAnchor: 'start',
        dx: 6
      })
    ]
  })
}

type KnownPoint = SeriesPoint & { readonly y: number }

/** Epochs and periods are whole: no ticks between a few of them. */
function wholeTicks(points: readonly KnownPoint[]) {
  const distinct = [...new Set(points.map(({ x }) => x))].sort((a, b) => a - b)
  return { tickFormat: '~s', ...(distinct.length <= 12 ? { ticks: distinct } : {}) }
}

function namedTicks(names: readonly string[]) {
  return { domain: [0, names.length - 1], ticks: names.map((_, i) => i), tickFormat: (i: number) => names[i] ?? '' }
}

/** A series' name beside its last point, moved up where the one below would cover it. */
function endLabels(points: readonly KnownPoint[], fromZero: boolean): KnownPoint[] {
  const last = new Map(points.map((point) => [point.series, point]))
  const values = points.map(({ y }) => y)
  // Of a plot some 260 pixels high a line of words takes 14.
  const gap = ((Math.max(...values) - (fromZero ? Math.min(0, ...values) : Math.min(...values))) * 14) / 260
  let floor = Number.NEGATIVE_INFINITY
  return [...last.values()]
    .sort((a, b) => a.y - b.y)
    .map((point) => {
      const y = Math.max(point.y, floor)
      floor = y + gap
      return { ...point, y }
    })
}

interface Bar {
  readonly facet: string
  readonly name: string
  readonly value: number
  /** Drawn as a whisker to both sides. */
  readonly deviation?: number
}

/** Bars side by side, in the order in which they are given; a group of them for each facet. */
export function barChart({ label, bars }: { readonly label: string; readonly bars: readonly Bar[] }): string {
  const names = [...new Set(bars.map(({ name }) => name))]
  const facets = [...new Set(bars.map(({ facet }) => facet))]
  const whiskers = bars.filter(({ deviation }) => deviation !== undefined && deviation > 0)
  return svg({
    marginBottom: 44,
    height: 60 + facets.length * (24 + names.length * 18),
    marginLeft: 20 + 6.2 * Math.max(...names.map((name) => name.length)),
    marginRight: 16 + 6.2 * Math.max(...facets.map((facet) => facet.length)),
    x: { label, labelOffset: 38, grid: true, zero: true, nice: true },
    y: { domain: names, label: null },
    fy: { domain: facets, label: null },
    color: colours(names),
    marks: [
      Plot.barX(bars, { x: 'value', y: 'name', fy: 'facet', fill: 'name', insetTop: 1, insetBottom: 1 }),
      Plot.ruleY(whiskers, {
        x1: ({ value, deviation = 0 }: Bar) => value - deviation,
        x2: ({ value, deviation = 0 }: Bar) => value + deviation,
        y: 'name',
        fy: 'facet',
        stroke: 'currentColor',
        strokeWidth: 1.5
      }),
      Plot.text(bars, {
        // Beyond the whisker, which would cross it out.
        x: ({ value, deviation = 0 }: Bar) => value + deviation,
        y: 'name',
        fy: 'facet',
        text: ({ value }: Bar) => shown(value),
        textAnchor: 'start',
        dx: 8,
        fill: 'currentColor'
      }),
      Plot.ruleX([0])
    ]
  })
}

interface GridCell {
  readonly x: number
  readonly y: number
  readonly value: number
}

/** A heat map with its numbers written in. */
export function heatMap({
  xLabel,
  yLabel,
  cells
}: {
  readonly xLabel: string
  readonly yLabel: string
  readonly cells: readonly GridCell[]
}): string {
  const values = cells.map(({ value }) => value)
  const [least, most] = [Math.min(...values), Math.max(...values)]
  const middle = (least + most) / 2
  return svg({
    width: 420,
    height: 100 + 44 * new Set(cells.map(({ y }) => y)).size,
    marginLeft: 50,
    marginBottom: 50,
    x: {
      type: 'band',
      label: xLabel,
      labelOffset: 40,
      domain: [...new Set(cells.map(({ x }) => x))].sort((a, b) => a - b)
    },
    y: { type: 'band', label: yLabel, domain: [...new Set(cells.map(({ y }) => y))].sort((a, b) => b - a) },
    color: { type: 'linear', domain: [least, most === least ? least + 1 : most], range: ['#dbe9f6', '#2a6cab'] },
    marks: [
      Plot.cell(cells, { x: 'x', y: 'y', fill: 'value', inset: 1 }),
      Plot.text(cells, {
        x: 'x',
        y: 'y',
        text: ({ value }: GridCell) => shown(value),
        fill: ({ value }: GridCell) => (value > middle ? '#ffffff' : '#16324f')
      })
    ]
  })
}

function colours(names: readonly string[]) {
  return { type: 'categorical' as const, domain: [...names], range: names.map((_, i) => palette[i % palette.length]!) }
}

function shown(value: number): string {
  return Math.abs(value) >= 10
    ? value.toFixed(0)
    : Math.abs(value) >= 1
      ? value.toFixed(2)
      : value.toFixed(3).replace(/^(-?)0/, '$1')
}

function svg(options: PlotOptions): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>')
  const drawn = Plot.plot({
    width,
    style: { background: 'transparent', fontSize: '12px' },
    ...options,
    document: document as never
  }) as unknown as {
    readonly outerHTML: string
  }
  return drawn.outerHTML
}
