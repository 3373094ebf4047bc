// How far a long command is: a bar on a terminal, plain lines elsewhere. Always on standard error: standard output
// belongs to the result.

import cliProgress from 'cli-progress'
import type { Clock } from '../src/core/clock.ts'
import { plainLine, progressStream } from '../src/core/terminal.ts'

/** Between two plain lines: often enough to see that it lives, seldom enough for a log file. */
const lineIntervalMs = 5000

export interface Progress {
  update(done: number, detail: string): void
  /** As many as were done is all there was: the expected total was an estimate. */
  finish(done: number, detail: string): void
  /** Idempotent, and may come without `finish`: it was interrupted. */
  stop(): void
}

/** @param total expected number of units; 0 if unknown */
export function startProgress(
  title: string,
  total: number,
  unit: string,
  clock: Clock,
  stream: NodeJS.WriteStream = progressStream()
): Progress {
  return stream.isTTY ? barProgress(title, total, unit, stream) : lineProgress(title, total, unit, clock, stream)
}

function barProgress(title: string, total: number, unit: string, stream: NodeJS.WriteStream): Progress {
  const bar = new cliProgress.SingleBar(
    {
      format: `${plainLine(title)} {bar} {percentage}% {value}/{total} ${unit} · {detail}`,
      barsize: 24,
      hideCursor: true,
      stream,
      etaBuffer: 50,
      stopOnComplete: false
    },
    cliProgress.Presets.shades_classic
  )
  bar.start(Math.max(total, 1), 0, { detail: '' })
  return {
    update: (done, detail) => {
      if (done > bar.getTotal()) bar.setTotal(done)
      bar.update(done, { detail: plainLine(detail) })
    },
    finish: (done, detail) => {
      bar.setTotal(Math.max(done, 1))
      bar.update(done, { detail: plainLine(detail) })
    },
    stop: () => bar.stop()
  }
}

function lineProgress(title: string, total: number, unit: string, clock: Clock, stream: NodeJS.WriteStream): Progress {
  let lastMs = clock.nowMs()
  let last = ''
  const write = (line: string) => {
    if (line !== last) stream.write(`${plainLine(line)}\n`)
    last = line
  }
  let line = ''
  const describe = (done: number, of: number, detail: string) => {
    const share = of > 0 ? `${String(Math.min(100, Math.floor((100 * done) / of))).padStart(3)}% ` : ''
    line = `${title} ${share}${done.toLocaleString('en')} ${unit} · ${detail}`
  }
  return {
    update: (done, detail) => {
      describe(done, total, detail)
      if (clock.nowMs() - lastMs < lineIntervalMs) return
      lastMs = clock.nowMs()
      write(line)
    },
    finish: (done, detail) => describe(done, total > 0 ? done : 0, detail),
    stop: () => {
      if (line !== '') write(line)
    }
  }
}
