// Trainer and publisher in one life after another on what outlives them, and deaths between two of their writes.

import assert from 'node:assert/strict'
import type { VectorIndex } from '../../src/index/vectorIndex.ts'
import { CatalogueReader } from '../../src/log/catalogueReader.ts'
import type { CheckpointStore } from '../../src/model/replica/checkpoint.ts'
import { ModelReplica } from '../../src/model/replica/modelReplica.ts'
import { PublishStage } from '../../src/publish/publishStage.ts'
import type { BatchLedger } from '../../src/train/checkpoint/batchLedger.ts'
import type { ControlRequest, ControlResult, ModelControl } from '../../src/train/modelControl.ts'
import { TrainStage } from '../../src/train/trainStage.ts'
import { BatchLedgerMemory } from '../support/batchLedgerMemory.ts'
import { CheckpointMemory } from '../support/checkpointMemory.ts'
import { MemoryUserDisk } from '../support/memoryUserStore.ts'
import { ioWithSequences, newTrainer, until } from '../support/smallStream.ts'
import type { TestStageIo } from '../support/stageIo.ts'

export class Desk implements ModelControl {
  asked: ControlRequest | undefined
  answered: ControlResult | undefined
  ask(action: ControlRequest['action'], more: { version?: number; hold?: boolean } = {}): void {
    this.asked = { id: (this.asked?.id ?? 0) + 1, action, ...more, requestedAtMs: 0 }
  }
  request(): ControlRequest | undefined {
    return this.asked
  }
  result(): ControlResult | undefined {
    return this.answered
  }
  finish(result: ControlResult): void {
    this.answered = result
  }
}

/** Everything that outlives a process. */
export interface Disk {
  readonly io: TestStageIo
  readonly checkpoints: CheckpointStore
  readonly ledger: BatchLedger
  readonly index: VectorIndex
  readonly desk: ModelControl
  /** What the publisher has put into effect. */
  readonly liveModel: CheckpointStore
}

export class Killed extends Error {}

/** Dies before the n-th write of all parts together, counted from 1; 0: never. */
export function mortal(disk: Disk, nth: number): { disk: Disk; writes: () => number } {
  let writes = 0
  const around = <T extends object>(part: T, names: readonly string[]): T =>
    new Proxy(part, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        return (...args: unknown[]): unknown => {
          if (names.includes(String(name)) && ++writes >= nth && nth > 0) throw new Killed() // the dead write no more
          return Reflect.apply(value, target, args)
        }
      }
    })
  const { io } = disk
  return {
    writes: () => writes,
    disk: {
      io: { ...io, log: around(io.log, ['append']) },
      checkpoints: around(disk.checkpoints, ['save']),
      liveModel: around(disk.liveModel, ['save']),
      ledger: around(disk.ledger, ['append', 'truncateBefore']),
      index: around(disk.index, ['createVersion', 'upsert', 'promote', 'dropVersion', 'remove', 'erase']),
      desk: around(disk.desk, ['finish'])
    }
  }
}

/** Trains and publishes in one life, until there is nothing to do. @param batches to learn at most */
export async function live(
  disk: Disk,
  batches = Number.POSITIVE_INFINITY
): Promise<{ modelVersion: string; trained: number }> {
  const { io, desk: control } = disk
  const stop = new AbortController()
  const replica = new ModelReplica({ gated: true })
  const { index, liveModel } = disk
  const catalogue = new CatalogueReader(io, { stage: 'train' })
  const publish = new PublishStage({
    ...io,
    catalogue,
    index,
    liveModel,
    replica,
    users: new MemoryUserDisk()
  })
  const trainer = newTrainer(io)
  const train = new TrainStage({
    ...{ ...io, catalogue, trainer, control, checkpoints: disk.checkpoints, ledger: disk.ledger },
    onBatch: ({ batch }) => {
      if (batch >= batches) stop.abort()
    }
  })
  for (const stage of [train, publish]) stage.drain(true)
  const parts = [train.run(stop.signal), publish.run(stop.signal)]
  const running = Promise.all(parts).then(() => {})
  running.catch(() => stop.abort())
  const sequences = (await io.log.ends('user-sequences')).get(0)
  try {
    await until(async () => {
      const { sequences: read, model } = publish.consumed()
      const { items, users } = publish.waiting()
      const updates = (await io.log.ends('model-updates')).get(0) ?? 0n
      const done =
        train.consumed().get(0) === sequences && train.updatesSent && control.request()?.id === control.result()?.id
      return (
        stop.signal.aborted || (done && read.get(0) === sequences && model === updates && items === 0 && users === 0)
      )
    }, running)
    stop.abort()
    await running
  } finally {
    // Both have ended before the next life begins: a trainer that goes on beside its successor would send batches of
    // its own.
    await Promise.allSettled(parts)
  }
  return { modelVersion: (await disk.index.live())?.indexVersion ?? '', trained: train.batch }
}

/** Learned to the end, with a checkpoint after 8 batches, and published. */
export async function history(index: VectorIndex): Promise<Disk & { desk: Desk }> {
  const disk = {
    ...{ io: await ioWithSequences(), checkpoints: new CheckpointMemory(3, 2), ledger: new BatchLedgerMemory() },
    ...{ index, desk: new Desk(), liveModel: new CheckpointMemory(1) }
  }
  await live(disk, 8)
  await live(disk)
  return disk
}

/** Whether what is live was made by the checkpoint's weights. */
export async function serves(disk: Disk, step: number): Promise<boolean> {
  const trainer = newTrainer(disk.io)
  trainer.restore(await disk.checkpoints.load(step))
  trainer.resendAll()
  const replica = new ModelReplica()
  for (const update of trainer.takeUpdates(true, 0)) replica.apply(update)
  const ids = [...trainer.items.admitted()].map((row) => trainer.items.idOf(row))
  const { vectors } = replica.itemVectors(ids.map((itemId) => ({ itemId, features: [] })))
  let worst = 0
  for (const [i, itemId] of ids.entries()) {
    const found = await disk.index.item(itemId)
    if (found === undefined) return false
    for (const [d, x] of found.vector.entries()) worst = Math.max(worst, Math.abs(x - vectors[i * 8 + d]!))
  }
  return worst < 0.02 // ε: an item that moved less is not written again
}

/**
 * A rollback that dies before its n-th write, for every n that `tried` wants: the old or the new model version is live, whole;
 * the next life finishes it, and what is served then is what an undisturbed one serves.
 * @returns writes of an undisturbed rollback
 */
export async function killRollbacks(
  openIndex: (kill: number) => Promise<VectorIndex>,
  tried: (kill: number) => boolean
): Promise<number> {
  for (let nth = 1; ; nth++) {
    if (!tried(nth)) continue
    const disk = await history(await openIndex(nth))
    const [old, newest] = await disk.checkpoints.steps()
    const counts = await disk.index.live()
    disk.desk.ask('rollback', { version: old! })
    const life = mortal(disk, nth)
    await live(life.disk).catch((error: unknown) => {
      if (!(error instanceof Killed)) throw error
    })
    const now = await disk.index.live()
    assert.equal(now?.users, counts?.users, `kill ${nth}: users of ${now?.indexVersion}`)
    assert.equal(
      await serves(disk, now?.indexVersion === 'mtmi-2x8.1' ? old! : newest!),
      true,
      `kill ${nth}: ${now?.indexVersion}`
    )
    assert.equal((await live(disk)).modelVersion, 'mtmi-2x8.1', `kill ${nth}`)
    assert.equal(await serves(disk, old!), true, `kill ${nth}: after the restart`)
    assert.equal((await disk.index.live())?.users, counts?.users, `kill ${nth}: users after the restart`)
    disk.io.dispose()
    if (life.writes() < nth) return life.writes()
  }
}
