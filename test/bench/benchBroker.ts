// A broker for a benchmark: those of KAFKA_BROKERS, or one of its own.

import { Broker, provideJava } from '../../infra/kafka/broker.mjs'

export interface BenchBroker {
  readonly brokers: string[]
  stop(): Promise<void>
}

export async function benchBroker(): Promise<BenchBroker> {
  const given = (process.env.KAFKA_BROKERS ?? '').split(',').filter((broker) => broker !== '')
  if (given.length > 0) return { brokers: given, stop: async () => {} }
  const missing = provideJava()
  if (missing !== undefined) throw new Error(missing)
  const broker = await Broker.start()
  return {
    brokers: [broker.address],
    stop: async () => {
      await broker.stop()
      broker.remove()
    }
  }
}
