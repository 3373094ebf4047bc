// The logger of a process: a JSON line an entry for machines, plain text for people. Secrets of the configuration are
// masked.

import { pino } from 'pino'
import type { Config } from '../src/core/config/config.ts'
import { isSecretName, withoutSecrets } from '../src/core/secrets.ts'
import { note, plainText } from '../src/core/terminal.ts'
import { version } from '../src/core/version.ts'
import type { LogFields, StageLogger } from '../src/monitor/stageLogger.ts'

/** Shorter values occur everywhere in ordinary text. */
const secretLengthMin = 4

export type LogStyle = 'json' | 'text'

/** `logFormat: auto` is JSON for a process that runs until it is stopped, and text otherwise. */
export function logStyle({ logFormat }: Pick<Config, 'logFormat'>, longRunning: boolean): LogStyle {
  return logFormat === 'auto' ? (longRunning ? 'json' : 'text') : logFormat
}

/**
 * A JSON line has `time` (ISO), `level`, `stage`, `version` (of the program) and `msg`, and fields of the same name
 * everywhere: `topic`, `partition`, `from` and `to` (offsets: first, and the one after the last), `model`
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
  if (style === 'text') return textLogger(config.logLevel, (line) => write(hide(line)))
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

export interface ProcessLogger {
  readonly style: LogStyle
  readonly logger: StageLogger
  info(text: string): void
  warn(text: string): void
  /** Empty in text style: the entries of stages are for machines, and would hide the messages of the command. */
  readonly forStages: { readonly logger?: StageLogger }
}

export function openLogger(config: Config, stage: string, style: LogStyle): ProcessLogger {
  const logger = openStageLogger(config, stage, style)
  return {
    style,
    logger,
    info: (text) => logger.info({}, text),
    warn: (text) => logger.warn({}, text),
    forStages: style === 'json' ? { logger } : {}
  }
}

function textLogger(logLevel: Config['logLevel'], write: (line: string) => void): StageLogger {
  const from = logLevel === 'silent' ? Number.POSITIVE_INFINITY : pino.levels.values[logLevel]!
  const at =
    (level: keyof StageLogger, prefix = '') =>
    (_: LogFields, message: string) => {
      if (pino.levels.values[level]! >= from) write(`${prefix}${message}\n`)
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn', 'warning: '), error: at('error', 'error: ') }
}

/** Offsets (bigint) as decimal text, secrets masked. Errors are left to pino. */
function plain(fields: Record<string, unknown>): Record<string, unknown> {
  const shown = (value: unknown, name: string) =>
    typeof value === 'bigint' ? String(value) : value instanceof Error ? value : withoutSecrets(value, name)
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, shown(value, name)]))
}

/** Values of secret settings, longest first, as they are and as JSON escapes them. */
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
