import assert from 'node:assert/strict'
import test from 'node:test'
import { htmlPage } from '../../../src/lab/evaluation/htmlPage.ts'
import { barChart, heatMap, lineChart } from '../../../src/lab/evaluation/plots.ts'

test('a page stands alone: nothing is loaded, and what comes from data is text', () => {
  const page = htmlPage(
    '<b>',
    'a & b',
    [{ title: 'T', text: '"x"', table: { heads: ['h'], rows: [['<script>']] } }],
    'f'
  )
  assert.doesNotMatch(page, /src=|href=|@import|url\(|<script>/)
  assert.match(page, /<title>&lt;b&gt;<\/title>/)
  assert.match(page, /<td>&lt;script&gt;<\/td>/)
  assert.match(page, /prefers-color-scheme: dark/)
})

test('a line for each series, named at its end; gaps are left out', () => {
  const points = [1, 2, 3].flatMap((x) =>
    ['a', 'b & c'].map((series) => ({ series, x, y: x === 3 && series === 'a' ? null : x }))
  )
  const svg = lineChart({ xLabel: 'epoch', yLabel: 'recall', points })
  assert.match(svg, />a</)
  assert.match(svg, />b &amp; c</)
  assert.match(svg, /recall/)
  assert.doesNotMatch(svg, /NaN|undefined/)
  const one = lineChart({ xLabel: 't', yLabel: 'y', points: [{ series: 's', x: 1, y: 1 }], xScale: 'log' })
  assert.match(one, /<svg/)
})

test('a bar for each value with its number; a heat map with its numbers', () => {
  const svg = barChart({
    label: 'Recall@50',
    bars: [
      { facet: '', name: 'one', value: 0.25, deviation: 0.01 },
      { facet: '', name: 'two', value: 0.5 }
    ]
  })
  assert.equal(svg.match(/<rect /g)?.length, 2)
  assert.match(svg, />\.250</)
  const map = heatMap({
    xLabel: 'K',
    yLabel: 'α',
    cells: [
      { x: 1, y: 0, value: 0.125 },
      { x: 2, y: 0, value: 0.125 }
    ]
  })
  assert.equal(map.match(/>\.125</g)?.length, 2)
  assert.doesNotMatch(map, /NaN/)
})
