// How far a long command is, in one line: written over on a terminal, seldom repeated elsewhere. On standard error.

import type { Clock } from '../../core/clock.ts'
import { plainLine, plainText, progressStream } from '../../core/terminal.ts'

/** Between two lines where nothing can be written over. */
const intervalMs = 5000

export interface StatusLine {
  /** What is going on now. */
  show(text: string): void
  /** Something that stays. */
  keep(text: string): void
  /** The line that is shown is no longer true. */
  clear(): void
}

export function startStatusLine(clock: Clock, stream: NodeJS.WriteStream = progressStream()): StatusLine {
  let shownMs = clock.nowMs()
  const clear = () => {
    if (stream.isTTY) stream.write('\r\x1b[K')
  }
  return {
    show: (text) => {
      if (stream.isTTY) stream.write(`\r\x1b[K${plainLine(text).slice(0, Math.max(20, stream.columns - 1))}`)
      else if (clock.nowMs() - shownMs >= intervalMs) {
        shownMs = clock.nowMs()
        stream.write(`${plainText(text)}\n`)
      }
    },
    keep: (text) => {
      clear()
      shownMs = clock.nowMs()
      stream.write(`${plainText(text)}\n`)
    },
    clear
  }
}
