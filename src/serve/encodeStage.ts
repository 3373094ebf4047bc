// model-updates and items → a model that encodes sessions, in a process that only serves. New tower weights take effect
// when the index has items encoded with them: the publisher decides whether they are good enough, and until then the
// live items belong to the previous weights.

import type { AccountNumbers } from '../core/account.ts'
import { runTogether } from '../core/backgroundTasks.ts'
import { Outage } from '../core/outage.ts'
import type { VectorIndex } from '../index/vectorIndex.ts'
import type { CatalogueReader } from '../log/catalogueReader.ts'
import type { LogRecord } from '../log/eventLog.ts'
import { followTopic } from '../log/followTopic.ts'
import { addUnfit } from '../log/modelRecords.ts'
import type { StageIo } from '../log/stageIo.ts'
import { ModelAccount } from '../model/replica/modelAccount.ts'
import type { ModelReplica } from '../model/replica/modelReplica.ts'
import type { MetricsReport } from '../monitor/metrics.ts'

/** Interval of checks of the live version: far below the interval of tower weights. */
const checkMs = 250

interface EncodeStageOptions extends StageIo {
  /** With a gate. */
  readonly replica: ModelReplica
  readonly catalogue: CatalogueReader
  readonly index: Pick<VectorIndex, 'live'>
  readonly measure?: (report: MetricsReport) => void
  readonly onProblem?: (text: string) => void
}

export class EncodeStage {
  readonly #options: EncodeStageOptions
  readonly #model = new ModelAccount()
  #caughtUp = false
  #ready = false

  constructor(options: EncodeStageOptions) {
    this.#options = options
  }

  /** Whether the model is the one whose items are live: not an earlier one while the log is still being read. */
  get ready(): boolean {
    return this.#ready && this.#options.replica.ready
  }

  /** The outcome of every model update that this process has read. */
  account(): AccountNumbers<'model'> {
    return this.#model.numbers()
  }

  /** Until `signal` aborts, or one of the readers fails. */
  async run(signal: AbortSignal): Promise<void> {
    const { config, codecs, replica, catalogue, clock } = this.#options
    replica.useCatalogue((itemId) => catalogue.catalogue.featuresOf(itemId))
    catalogue.onChange(({ itemId }) => replica.featuresChanged(itemId))
    const end = (await this.#options.log.ends(config.topics.modelUpdates)).get(0) ?? 0n
    this.#caughtUp = end === 0n
    const readUpdate = ({ offset }: LogRecord) => {
      if (offset + 1n >= end) this.#caughtUp = true
    }
    await runTogether(
      { signal, clock },
      {
        'reading the catalogue': (either) => catalogue.follow(either),
        'reading model updates': (either) =>
          followTopic(this.#options, {
            ...{ stage: 'serve', topic: config.topics.modelUpdates, signal: either, measure: this.#options.measure },
            use: (record, letters) => {
              this.#model.read()
              if (record.value === null) this.#model.empty()
              else {
                const update = codecs.modelUpdate.decode(record.value)
                this.#model.decoded(update)
                replica.apply(update, record.offset + 1n)
                const unfit = replica.takeUnfit()
                this.#model.applied(unfit.length)
                addUnfit(letters, codecs, record, unfit)
              }
              readUpdate(record)
            },
            skip: (record) => {
              this.#model.refused()
              readUpdate(record)
            }
          }),
        'following the live model': (either) => this.#switch(either)
      }
    )
  }

  async #switch(signal: AbortSignal): Promise<void> {
    const { replica, index, clock, measure, onProblem } = this.#options
    const onFailure = () => measure?.([{ metric: 'taskFailures', labels: { task: 'sessions' }, value: 1 }])
    const outage = new Outage({ what: 'reading the live index version for sessions', clock, onProblem, onFailure })
    const follow = async () => {
      while (this.#caughtUp && (await this.#acceptIfLive(index, replica))) {
        // and perhaps the next one
      }
      this.#ready ||= this.#caughtUp
    }
    while (!signal.aborted) {
      await outage.retry(follow, signal)
      await clock.sleep(checkMs, signal)
    }
  }

  /** Weights that the publisher rejected are never live; later ones that it accepted are proposed then. */
  async #acceptIfLive(index: Pick<VectorIndex, 'live'>, replica: ModelReplica): Promise<boolean> {
    const proposed = replica.propose()
    if (proposed === undefined) return false
    const live = await index.live()
    if (live === undefined || live.indexVersion !== proposed.modelVersion || live.step < proposed.step) return false
    replica.accept()
    return true
  }
}
