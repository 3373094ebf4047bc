// What a stage may say of its work: pino's way round. Who writes it where, and in which form, is not the stage's
// business.

export type LogFields = Readonly<Record<string, unknown>>

export interface StageLogger {
  debug(fields: LogFields, message: string): void
  info(fields: LogFields, message: string): void
  warn(fields: LogFields, message: string): void
  error(fields: LogFields, message: string): void
}
