export const noJavaStatus: number

export const secureUser: { readonly username: string; readonly password: string }

/** A broker of Apache Kafka on loopback. */
export class Broker {
  /**
   * @param version default: KAFKA_VERSION, or 4.3.1
   * @param options secure: a second listener on TLS, with SASL for `secureUser`; diskMiB: the data is on a file system of
   *   this size (root only)
   */
  static start(
    version?: string,
    options?: { readonly secure?: boolean; readonly authorize?: boolean; readonly diskMiB?: number }
  ): Promise<Broker>
  /** Brokers of one cluster with a replica of each topic on each; two of three must be in sync for a write. */
  static startCluster(count: number, version?: string): Promise<Broker[]>
  /** `127.0.0.1:port` */
  readonly address: string
  readonly secureAddress: string
  /** PEM: what vouches for the secure listener. */
  readonly caFile: string
  readonly pid: number
  readonly isRunning: boolean
  resizeDisk(diskMiB: number): void
  /** After `stop`: starts on the data that is there, on the same port. */
  run(): Promise<void>
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>
  remove(): void
}

/** @returns what is missing, and what to do; undefined: nothing */
export function provideJava(): string | undefined
