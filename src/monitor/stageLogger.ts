// The logger that a stage is given: fields first, as pino has them. The process decides where and in which form.

export type LogFields = Readonly<Record<string, unknown>>

export interface StageLogger {
  debug(fields: LogFields, message: string): void
  info(fields: LogFields, message: string): void
  warn(fields: LogFields, message: string): void
  error(fields: LogFields, message: string): void
}
