export const noJavaStatus: number

/** A broker of Apache Kafka on loopback. */
export class Broker {
  /** @param version KAFKA_VERSION, or 4.3.1 */
  static start(version?: string): Promise<Broker>
  /** `127.0.0.1:port` */
  readonly address: string
  readonly pid: number
  /** After `stop`: starts on the data that is there, on the same port. */
  run(): Promise<void>
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>
  remove(): void
}

/** @returns what is missing, and what to do; undefined: nothing */
export function provideJava(): string | undefined
