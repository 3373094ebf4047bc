// The shell blocks of a Markdown document, each with the output that the document shows for it.

export interface ShellBlock {
  /** 1 is the document's first line. */
  readonly line: number
  readonly script: string
  /** The `text` block that follows. */
  readonly output?: string
  /** Digits of the output differ from run to run. */
  readonly numbersVary: boolean
  /** A service: it runs in the background from the moment that it prints this. */
  readonly backgroundUntil?: string
  readonly notRun?: string
}

/**
 * Reads the fenced `sh` blocks. An HTML comment on the line before a fence says what is special about the block:
 * `<!-- not run: REASON -->`, `<!-- background until "TEXT" -->`, and before an output `<!-- numbers vary -->`.
 */
export function shellBlocks(markdown: string): ShellBlock[] {
  const blocks: ShellBlock[] = []
  const lines = markdown.split('\n')
  for (let i = 0; i < lines.length; i++) {
    const language = /^```(\w+)$/.exec(lines[i]!)?.[1]
    if (language === undefined) continue
    const end = lines.indexOf('```', i + 1)
    const text = lines.slice(i + 1, end).join('\n')
    const comment = /^<!-- (.*) -->$/.exec(lines[i - 1] ?? '')?.[1] ?? ''
    const last = blocks.at(-1)
    if (language === 'sh') {
      const notRun = /^not run: (.+)$/.exec(comment)?.[1]
      const backgroundUntil = /^background until "(.+)"$/.exec(comment)?.[1]
      blocks.push({
        line: i + 1,
        script: text,
        numbersVary: false,
        ...(notRun === undefined ? {} : { notRun }),
        ...(backgroundUntil === undefined ? {} : { backgroundUntil })
      })
    } else if (language === 'text' && last !== undefined && last.output === undefined)
      blocks[blocks.length - 1] = { ...last, output: text, numbersVary: comment === 'numbers vary' }
    i = end
  }
  return blocks
}

/**
 * The first line of the expected output that the actual one does not have after the lines before it; undefined if all
 * are there, in their order. `…` stands for any text, and alone in a line for any lines.
 */
export function missingLine(expected: string, actual: string, numbersVary: boolean): string | undefined {
  const plain = (line: string) =>
    (numbersVary ? line.replace(/\d+/g, '0').replace(/[▁▂▃▄▅▆▇█│ ]+/g, ' ') : line).trimEnd()
  const found = actual.split('\n').map(plain)
  let at = 0
  for (const line of expected.split('\n')) {
    if (line.trim() === '…' || line.trim() === '') continue
    const pattern = new RegExp(`^${plain(line).split('…').map(escaped).join('.*')}$`)
    const place = found.findIndex((candidate, i) => i >= at && pattern.test(candidate))
    if (place < 0) return line
    at = place + 1
  }
  return undefined
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}
