// Colours of the console's token form, as its style sheet gives them. test/console looks at the whole page in a
// browser.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

const css = readFileSync(new URL('../../../infra/console/console.css', import.meta.url), 'utf8')
const themes = ['light', 'dark'] as const

/** Relative luminance (WCAG 2.2). */
function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const c = Number.parseInt(hex.slice(at, at + 2), 16) / 255
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
  }) as [number, number, number]
  return 0.2126 * r + 0.7152 * g + 0.0722 * b
}

function contrast(a: string, b: string): number {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number]
  return (high + 0.05) / (low + 0.05)
}

function colour(name: string, theme: (typeof themes)[number]): string {
  const found = new RegExp(`--${name}: light-dark\\((#\\w{6}), (#\\w{6})\\)`).exec(css)
  assert(found !== null, `--${name} is no pair of colours`)
  return found[theme === 'light' ? 1 : 2]!
}

/** What the last rule for this selector gives the property, as the name of a variable. */
function given(selector: string, property: string): string {
  const rules = [...css.matchAll(/([^{}]+)\{([^{}]*)\}/g)].filter(([, selectors]) =>
    selectors!
      .replace(/\/\*.*?\*\//gs, '')
      .split(',')
      .some((one) => one.trim() === selector)
  )
  const values = rules.flatMap(([, , body]) => [
    ...body!.matchAll(new RegExp(`(?:^|[\\s;])${property}: [^;]*?var\\(--(\\w+)\\)`, 'g'))
  ])
  assert(values.length > 0, `${selector} gives no ${property}`)
  return values.at(-1)![1]!
}

for (const theme of themes) {
  test(`the token form is readable in the ${theme} theme: its words, what is typed, its button and the edge of its field`, () => {
    // The button inherits its colour from the form.
    for (const [words, ground] of [
      ['form.banner', 'form.banner'],
      ['form.banner input', 'form.banner input'],
      ['form.banner', 'button']
    ] as const) {
      const found = contrast(colour(given(words, 'color'), theme), colour(given(ground, 'background'), theme))
      assert(found >= 4.5, `${words} on ${ground}: contrast ${found.toFixed(2)}`)
    }
    const edge = contrast(
      colour(given('form.banner input', 'border'), theme),
      colour(given('form.banner', 'background'), theme)
    )
    assert(edge >= 3, `edge: contrast ${edge.toFixed(2)}`)
  })
}
