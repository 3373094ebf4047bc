// A trainer that only counts: the interface of IncrementalTrainer without its arithmetic. An item's row says how often
// the item was learned, so vectors in the index tell which interactions they know of; and it remembers by name which
// examples it was given.

import type { ModelOptions } from '../../src/core/config/config.ts'
import { DivergedError } from '../../src/core/errors.ts'
import { Rng } from '../../src/core/rng.ts'
import { createModel, modelToJson, modelVersionOf } from '../../src/model/model.ts'
import type { Checkpoint, CheckpointPart } from '../../src/model/replica/checkpoint.ts'
import type { Example } from '../../src/records/example.ts'
import type { ModelUpdate } from '../../src/records/modelUpdate.ts'
import { type StageTrainer, unknownRank } from '../../src/train/trainer.ts'
import { epochMs } from './world.ts'

interface State {
  step: number
  /** Learned so often, by item. */
  counts: Record<string, number>
  /** Features of items that were learned. */
  features: string[]
  /** Names of the examples, in the order of learning. */
  learned: string[]
  /** Of the learning rate: halved after steps that were not finite. */
  rate: number
}

export class StandInTrainer implements StageTrainer {
  readonly #options: ModelOptions
  readonly #historyMax: number
  readonly #model: ReturnType<typeof createModel>
  readonly #diverges: (batch: string) => boolean
  #state: State = { step: 0, counts: {}, features: [], learned: [], rate: 1 }
  /**
   * Items and features whose row was not sent since it changed. Not part of a checkpoint, as with the real one:
   * learning again makes them dirty again.
   */
  #dirtyItems = new Set<string>()
  #dirtyFeatures = new Set<string>()
  #featuresOf: (itemId: string) => readonly string[] = () => []
  #copies = 0
  modelVersion: string

  /** @param diverges whether the step of a batch is not finite, by a text that names the batch and the learning rate */
  constructor(options: ModelOptions, historyMax: number, diverges: (batch: string) => boolean) {
    this.#diverges = diverges
    this.#options = options
    this.#historyMax = historyMax
    this.#model = createModel(options, historyMax)
    this.modelVersion = modelVersionOf(options)
  }

  /** `partition/offset` of the interactions that were learned. */
  get learned(): readonly string[] {
    return this.#state.learned
  }

  /** Rows of items as they are now; undefined while some changed and were not sent. */
  sentRows(): ReadonlyMap<string, Float32Array> | undefined {
    if (this.#dirtyItems.size > 0) return undefined
    return new Map(Object.keys(this.#state.counts).map((key) => [key.slice(2), this.#row(key)]))
  }

  get copies(): number {
    return this.#copies
  }

  get waitingBlocks(): number {
    return 0
  }

  beginVersion(modelVersion: string): void {
    this.modelVersion = modelVersion
    this.resendAll()
  }

  restoreVersion(modelVersion: string): void {
    this.modelVersion = modelVersion
  }

  useCatalogue(featuresOf: (itemId: string) => readonly string[]): void {
    this.#featuresOf = featuresOf
  }

  featuresChanged(): void {}

  evaluateExamples(examples: readonly Example[]): ReturnType<StageTrainer['evaluateExamples']> {
    const ranks = new Int32Array(examples.length).map((_, b) =>
      this.#state.counts[`i:${examples[b]!.target.itemId}`] ? b : unknownRank
    )
    const wins = new Float32Array(this.#options.interestCount)
    const candidates = Object.keys(this.#state.counts).length
    return { ranks, inclusion: 1, candidates, intraUserCosine: 0.5, wins }
  }

  learnExamples(examples: readonly Example[]): ReturnType<StageTrainer['learnExamples']> {
    const { counts, learned, features, rate } = this.#state
    const names = examples.map(({ source }) => `${source.partition}/${source.offset}`)
    // The last click of all is learned: after it everything has to be sent.
    const isLast = examples.some(({ target }) => target.eventTimeMs >= epochMs)
    if (!isLast && this.#diverges(`${names.join(' ')} at ${rate}`))
      throw new DivergedError(`the step of ${names.join(' ')} is not finite`)
    for (const { source, target } of examples) {
      learned.push(`${source.partition}/${source.offset}`)
      const key = `i:${target.itemId}`
      counts[key] = (counts[key] ?? 0) + 1
      this.#dirtyItems.add(key)
      for (const feature of this.#featuresOf(target.itemId)) {
        if (features.includes(feature)) continue
        features.push(feature)
        this.#dirtyFeatures.add(feature)
      }
    }
    const step = ++this.#state.step
    const fresh = { trained: examples.length, unknownItem: 0, unknownHistory: 0 }
    return { step, loss: 1, gradientNorm: 1, touchedRows: examples.length, examples: examples.length, fresh }
  }

  respondToDrift(): boolean {
    return false
  }

  slowDown(by: number): void {
    this.#state.rate *= by
  }

  forgetUser(): void {}

  takeUpdates(withWeights: boolean, nowMs: number): ModelUpdate[] {
    const updates: ModelUpdate[] = []
    for (const key of this.#dirtyItems) {
      const itemId = key.slice(2)
      updates.push({ kind: 'item-row', itemId, row: this.#row(key), count: this.#state.counts[key]! })
    }
    for (const feature of this.#dirtyFeatures)
      updates.push({ kind: 'feature-row', feature, row: this.#numbers(feature, this.#model.dimensions) })
    this.#dirtyItems.clear()
    this.#dirtyFeatures.clear()
    if (withWeights) {
      for (const [name, shape] of Object.entries(this.#model.shapes)) {
        const values = this.#numbers(
          `${name}#${this.#state.step}`,
          shape.reduce((product, length) => product * length, 1)
        )
        updates.push({ kind: 'weights', name, shape, values })
      }
    }
    const model = modelToJson(this.#options, this.#historyMax)
    const { modelVersion } = this
    updates.push({
      kind: 'commit',
      step: this.#state.step,
      modelVersion,
      model,
      weightsChanged: withWeights,
      committedAtMs: nowMs,
      memoryWeight: 0
    })
    return updates
  }

  resendAll(): void {
    this.#dirtyItems = new Set(Object.keys(this.#state.counts))
    this.#dirtyFeatures = new Set(this.#state.features)
  }

  checkpoint(): Checkpoint {
    this.#copies++
    return { header: { standIn: JSON.stringify(this.#state) }, parts: [] }
  }

  beginCheckpoint(): Checkpoint {
    return this.checkpoint()
  }

  restore(checkpoint: Checkpoint, others: (part: CheckpointPart) => void = () => {}): void {
    this.#copies++
    this.#state = JSON.parse(checkpoint.header.standIn as string) as State
    this.#dirtyItems.clear()
    this.#dirtyFeatures.clear()
    for (const part of checkpoint.parts) others(part)
  }

  #row(key: string): Float32Array {
    return this.#numbers(`${key.slice(2)}#${this.#state.counts[key]}`, this.#model.dimensions)
  }

  /** The same for the same text, and others for another. */
  #numbers(text: string, length: number): Float32Array {
    let seed = 7
    for (let i = 0; i < text.length; i++) seed = (Math.imul(seed, 31) + text.charCodeAt(i)) | 0
    const rng = new Rng(seed)
    return new Float32Array(length).map(() => rng.normal())
  }
}
