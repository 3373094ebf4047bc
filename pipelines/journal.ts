// What a stage says while it works: a JSON line each for machines, words for people. Secrets of the configuration are
// never in it.

import { pino } from 'pino'
import { type Config, isSecretName, withoutSecrets } from '../src/core/config/config.ts'
import { note, plainText } from '../src/core/terminal.ts'
import { version } from '../src/core/version.ts'
import type { LogFields, StageLogger } from '../src/monitor/stageLogger.ts'

/** Shorter ones would be found everywhere. */
const secretLengthMin = 4

export type LogStyle = 'json' | 'text'

/**
 * What `logFormat` comes to. @param goesOn a stage that is to run until it is told to end: nobody watches it but
 * machines
 */
export function logStyle({ logFormat }: Pick<Config, 'logFormat'>, goesOn: boolean): LogStyle {
  return logFormat === 'auto' ? (goesOn ? 'json' : 'text') : logFormat
}

/**
 * A line has `time` (ISO), `level`, `stage`, `version` (of the program) and `msg`; what it is about is in fields of the
 * same name everywhere: `topic`, `partition`, `from` and `to` (offsets: first, and the next after the last), `model`
 * (`version@step`), `traceId`. As text only the message is written.
 */
export function openStageLogger(
  config: Config,
  stage: string,
  style: LogStyle,
  write: (line: string) => void = (line) => note(line.trimEnd())
): StageLogger {
  const secrets = secretsOf(config)
  const hide = (line: string) => plainText(secrets.reduce((text, secret) => text.replaceAll(secret, '***'), line))
  const destination = { write: (line: string) => write(hide(line)) }
  if (style === 'text') return wordsOnly(config.logLevel, (line) => write(hide(line)))
  return pino(
    {
      level: config.logLevel,
      base: { stage, version },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }), log: plain }
    },
    destination
  )
}

/** A logger, and what is said to whoever started the process. */
export interface Journal {
  readonly style: LogStyle
  readonly logger: StageLogger
  say(text: string): void
  warn(text: string): void
  /** What a stage does by itself is for machines alone: as words it would hide what was asked for. */
  readonly forStages: { readonly logger?: StageLogger }
}

/** @param goesOn as in `logStyle` */
export function openJournal(config: Config, stage: string, goesOn: boolean): Journal {
  const style = logStyle(config, goesOn)
  const logger = openStageLogger(config, stage, style)
  return {
    style,
    logger,
    say: (text) => logger.info({}, text),
    warn: (text) => logger.warn({}, text),
    forStages: style === 'json' ? { logger } : {}
  }
}

function wordsOnly(logLevel: Config['logLevel'], write: (line: string) => void): StageLogger {
  const from = logLevel === 'silent' ? Number.POSITIVE_INFINITY : pino.levels.values[logLevel]!
  const at =
    (level: keyof StageLogger, prefix = '') =>
    (_: LogFields, message: string) => {
      if (pino.levels.values[level]! >= from) write(`${prefix}${message}\n`)
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn', 'warning: '), error: at('error', 'error: ') }
}

/** Offsets are bigint, which JSON has not: as decimal text, which keeps every digit. Errors are left to pino. */
function plain(fields: Record<string, unknown>): Record<string, unknown> {
  const shown = (value: unknown) =>
    typeof value === 'bigint' ? String(value) : value instanceof Error ? value : withoutSecrets(value)
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, isSecretName(name) ? '***' : shown(value)])
  )
}

/** Values of settings that must never be printed, longest first, as they stand in a line of JSON. */
function secretsOf(config: Config): string[] {
  const found = new Set<string>()
  const look = (value: unknown, secret: boolean) => {
    if (typeof value === 'string') {
      if (secret && value.length >= secretLengthMin) found.add(value).add(JSON.stringify(value).slice(1, -1))
    } else if (Array.isArray(value)) for (const inner of value) look(inner, secret)
    else if (typeof value === 'object' && value !== null)
      for (const [key, inner] of Object.entries(value)) look(inner, secret || isSecretName(key))
  }
  look(config, false)
  return [...found].sort((a, b) => b.length - a.length)
}
