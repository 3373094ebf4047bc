// A report as one file: words, tables and plots, on light and dark, nothing loaded from elsewhere.

export interface PageTable {
  readonly heads: readonly string[]
  /** The first cell names the row; columns without words are aligned as numbers. */
  readonly rows: readonly (readonly string[])[]
}

export interface PageSection {
  readonly title: string
  readonly text?: string
  /** Numbers that stand out. */
  readonly figures?: readonly { readonly value: string; readonly label: string }[]
  /** SVG text, as plots.ts makes it. */
  readonly plots?: readonly { readonly caption: string; readonly svg: string }[]
  readonly table?: PageTable
}

const style = `
:root { color-scheme: light dark; --text: #1d2430; --quiet: #5c6675; --ground: #ffffff; --panel: #f5f7fa; --line: #dde3ea }
@media (prefers-color-scheme: dark) { :root { --text: #e6e9ee; --quiet: #9aa5b4; --ground: #14181e; --panel: #1c222b; --line: #2d3642 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 60rem; background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .35rem } h2 { font-size: 1.1rem; margin: 2.25rem 0 .6rem }
p { margin: .25rem 0 .75rem; color: var(--quiet) }
.figures { display: flex; flex-wrap: wrap; gap: .75rem; margin: .75rem 0 1rem }
.figure { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .9rem; min-width: 8.5rem }
.figure b { display: block; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums } .figure span { color: var(--quiet); font-size: .85rem }
figure { margin: .5rem 0 1.25rem; overflow-x: auto } figcaption { color: var(--quiet); font-size: .9rem; margin-bottom: .35rem }
svg { max-width: 100%; height: auto; color: var(--text) }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; min-width: 50% }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap } th:first-child, td:first-child { text-align: left }
th.words, td.words { text-align: left } .long { white-space: normal; min-width: 22rem }
th { font-weight: 600; color: var(--quiet) } footer { margin-top: 3rem; color: var(--quiet); font-size: .85rem }
`

/** A cell with more characters is a sentence, and may be broken. */
const longMin = 50

/**
 * Numbers come with units of one or two letters, and a dash where there is none. The first column is aligned as words
 * in any case.
 */
function hasWords(rows: readonly (readonly string[])[], column: number): boolean {
  return column > 0 && rows.some((row) => /\p{L}{3}/u.test(row[column] ?? ''))
}

export function htmlPage(title: string, lead: string, sections: readonly PageSection[], footer: string): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>${escaped(title)}</title><style>${style}</style></head>
<body><h1>${escaped(title)}</h1><p>${escaped(lead)}</p>
${sections.map(sectionHtml).join('\n')}
<footer>${escaped(footer)}</footer></body></html>
`
}

function sectionHtml({ title, text, figures = [], plots = [], table }: PageSection): string {
  const parts = [`<h2>${escaped(title)}</h2>`]
  if (text !== undefined) parts.push(`<p>${escaped(text)}</p>`)
  if (figures.length > 0) {
    const all = figures.map(
      ({ value, label }) => `<div class="figure"><b>${escaped(value)}</b><span>${escaped(label)}</span></div>`
    )
    parts.push(`<div class="figures">${all.join('')}</div>`)
  }
  for (const { caption, svg } of plots)
    parts.push(`<figure><figcaption>${escaped(caption)}</figcaption>${svg}</figure>`)
  if (table !== undefined) parts.push(`<div class="scroll">${tableHtml(table)}</div>`)
  return parts.join('\n')
}

function tableHtml({ heads, rows }: PageTable): string {
  const words = heads.map((_, column) => hasWords(rows, column))
  const classOf = (cell: string, column: number) =>
    [...(words[column] ? ['words'] : []), ...(cell.length > longMin ? ['long'] : [])].join(' ')
  const cellHtml = (cell: string, column: number, tag: 'th' | 'td') => {
    const name = classOf(cell, column)
    return `<${tag}${name === '' ? '' : ` class="${name}"`}>${escaped(cell)}</${tag}>`
  }
  const line = (cells: readonly string[], tag: 'th' | 'td') =>
    `<tr>${cells.map((cell, column) => cellHtml(cell, column, tag)).join('')}</tr>`
  return `<table><thead>${line(heads, 'th')}</thead><tbody>${rows.map((row) => line(row, 'td')).join('')}</tbody></table>`
}

/** The same table in Markdown. */
export function markdownTable({ heads, rows }: PageTable): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [
    line(heads),
    `|---|${heads
      .slice(1)
      .map((_, i) => (hasWords(rows, i + 1) ? '---|' : '--:|'))
      .join('')}`,
    ...rows.map(line)
  ].join('\n')
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}
