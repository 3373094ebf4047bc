// State on a process's own disk: what has been saved is there after a kill, and nothing else is.

import type { CheckpointStore } from '../../src/model/replica/checkpoint.ts'
import type { UserDisk } from '../../src/publish/publishedUsers.ts'
import type { OwnedDisk, StoredPosition, StoredTopics } from '../../src/sequence/ownedSequences.ts'
import type { SequenceStore } from '../../src/sequence/sequenceStore.ts'
import type { BatchLedger } from '../../src/train/checkpoint/batchLedger.ts'
import { BatchLedgerMemory } from '../support/batchLedgerMemory.ts'
import { CheckpointMemory } from '../support/checkpointMemory.ts'
import { MemoryDisk, MemorySequenceStore } from '../support/memorySequenceStore.ts'
import { MemoryUserDisk } from '../support/memoryUserStore.ts'
import type { Faults } from './faults.ts'
import type { Life } from './world.ts'

export class SimDisk {
  readonly #files = new Map<string, string>()
  readonly #users = new MemoryUserDisk()
  readonly sequences = new Map<number, MemoryDisk>()
  readonly checkpoints = new CheckpointMemory(3, 2)
  readonly liveModel = new CheckpointMemory(1)
  readonly ledger = new BatchLedgerMemory()

  /** A small file, written whole or not at all. */
  file<T>(life: Life, faults: Faults, name: string): { load(): T | undefined; save(value: T): void } {
    return {
      load: () => {
        const text = this.#files.get(name)
        return text === undefined ? undefined : (JSON.parse(text) as T)
      },
      save: (value) => {
        faults.now(life, `write ${name}`)
        this.#files.set(name, JSON.stringify(value))
      }
    }
  }

  /** Windows that the publisher keeps. */
  users(life: Life, faults: Faults): UserDisk {
    return {
      open: (partition) =>
        faults.call(life, 'state', `open users of partition ${partition}`, () => {
          const store = this.#users.at(partition)
          const save = store.save.bind(store)
          store.save = (next, state) =>
            faults.call(life, 'state', `save of users of partition ${partition} to ${next}`, () => {
              life.world.trace(life.name, `saves users of partition ${partition} to ${next}`)
              return save(next, state)
            })
          return store
        }),
      remove: (partition) => this.#users.remove(partition)
    }
  }

  async store(life: Life, faults: Faults, partition: number): Promise<SequenceStore> {
    let disk = this.sequences.get(partition)
    if (disk === undefined) {
      disk = new MemoryDisk()
      this.sequences.set(partition, disk)
    }
    const store = new MemorySequenceStore(disk)
    const commit = store.commit.bind(store)
    store.commit = (next, watermarkMs, counts) =>
      faults.call(life, 'state', `commit of partition ${partition} to ${next}`, () => {
        life.world.trace(life.name, `commits partition ${partition} to ${next}`)
        return commit(next, watermarkMs, counts)
      })
    return faults.call(life, 'state', `open partition ${partition}`, () => store)
  }

  owned(life: Life, faults: Faults): OwnedDisk {
    const position = (partition: number) => this.file<StoredPosition>(life, faults, `sequences-${partition}.held`)
    const topics = this.file<StoredTopics>(life, faults, 'sequences.partitions')
    return {
      open: (partition) => this.store(life, faults, partition),
      load: (partition) => position(partition).load(),
      save: (partition, next) => position(partition).save(next),
      remove: (partition) => void this.sequences.delete(partition),
      loadTopics: () => topics.load(),
      saveTopics: (stored) => topics.save(stored)
    }
  }
}

/** @param held what outlives the process */
export function simCheckpoints(held: CheckpointStore, life: Life, faults: Faults): CheckpointStore {
  const call = <T>(what: string, effect: () => Promise<T>) => faults.call(life, 'state', what, effect)
  return {
    save: (step, checkpoint, options) =>
      call(`checkpoint ${step}`, () => {
        life.world.trace(life.name, `saves checkpoint ${step}`)
        return held.save(step, checkpoint, options)
      }),
    latest: () => call('the newest checkpoint', () => held.latest()),
    load: (step) => call(`checkpoint ${step}`, () => held.load(step)),
    rewrite: (names, change, look) => call('rewrite of checkpoints', () => held.rewrite(names, change, look)),
    steps: () => call('list of checkpoints', () => held.steps()),
    versions: () => call('list of versions', () => held.versions())
  }
}

export function simLedger(held: BatchLedger, life: Life, faults: Faults): BatchLedger {
  return {
    append: (entry) => {
      faults.now(life, `write of batch ${entry.step}`)
      held.append(entry)
    },
    after: (step) => held.after(step),
    truncateBefore: (step) => held.truncateBefore(step),
    close: () => {}
  }
}
