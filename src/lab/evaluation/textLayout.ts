// Lines, numbers and bars of a report in plain text.

import { number, ratio } from './figures.ts'

export const widthMax = 92

/** Indented by two, and by six from the second line on; broken at commas and index versions. */
export function wrapped(text: string): string[] {
  const lines: string[] = []
  let line = '  '
  for (const [i, word] of text.split(' ').entries()) {
    if (i > 0 && line.length + 1 + word.length > widthMax) {
      lines.push(line.trimEnd())
      line = `      ${word}`
    } else line += i === 0 ? word : ` ${word}`
  }
  return [...lines, line]
}

export function row(name: string, hitRate: number, ndcg: number, comparison: string): string {
  return `  ${name.padEnd(24)}${ratio(hitRate).padStart(12)}${ratio(ndcg).padStart(9)}${comparison.padStart(17)}`.trimEnd()
}

export function times(model: number, other: number): string {
  return other === 0 ? '' : `${(model / other).toFixed(2)} × as good`
}

const bars = '▁▂▃▄▅▆▇█'

export function bar(value: number, highest: number): string {
  return highest === 0 ? bars[0]! : bars[Math.min(bars.length - 1, Math.round((value / highest) * (bars.length - 1)))]!
}

/** Items after one another, at most three lines of them. */
export function wrap(lead: string, items: readonly string[]): string[] {
  const lines: string[] = []
  let line = lead
  let fresh = true
  for (const [i, item] of items.entries()) {
    const piece = clip(item, 40) + (i < items.length - 1 ? ', ' : '')
    if (!fresh && line.length + piece.trimEnd().length > widthMax) {
      lines.push(line.trimEnd())
      if (lines.length === 3) return [...lines.slice(0, 2), `${clip(lines[2]!, widthMax - 2)} …`]
      line = ' '.repeat(lead.length)
    }
    line += piece
    fresh = false
  }
  return [...lines, line.trimEnd()]
}

/** In code points, so that no character is torn. */
export function clip(text: string, lengthMax: number): string {
  const points = [...text]
  return points.length <= lengthMax ? text : `${points.slice(0, lengthMax - 1).join('')}…`
}

export function count(value: number, noun: string): string {
  return `${number(value)} ${noun}${Math.round(value) === 1 ? '' : 's'}`
}

export function percent(share: number): string {
  const value = share * 100
  return `${value > 0 && value < 9.5 ? value.toFixed(1) : value.toFixed(0)}%`
}

export function duration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
}
