// What each stage reads, writes and claims in the log: the rights that its credentials must have.

import type { Config } from '../../../src/core/config/config.ts'
import { deadLetterTopic } from '../../../src/log/deadLetter.ts'
import { sequenceFence } from '../../../src/sequence/ownedPartition.ts'
import { lateTopic } from '../../../src/sequence/sequenceStage.ts'

export type StageName = 'ingest' | 'sequence' | 'train' | 'publish' | 'serve'

export interface StageNeeds {
  readonly stage: StageName
  readonly reads: readonly string[]
  readonly writes: readonly string[]
  /** Consumer groups, as the stage names them, with the topic that each reads. */
  readonly groups: readonly { readonly group: string; readonly topic: string }[]
  /** Topics that are written to under a claim, with one of its names. */
  readonly fences: readonly { readonly topic: string; readonly fence: string }[]
}

const app = 'mtmi'
/** Read as well as written: a stage dead-letters a record once. */
const deadLetters = (...topics: string[]) => topics.map((topic) => deadLetterTopic(topic, app))

/** Without `ingest` where there are no sources. */
export function stageNeeds({ topics, sources }: Pick<Config, 'topics' | 'sources'>): StageNeeds[] {
  const { interactions, items, userSequences, modelUpdates } = topics
  const foreign = deadLetters(...sources.map(({ topic }) => topic))
  const published = [userSequences, items, modelUpdates, interactions]
  const into = new Set(sources.map(({ kind }) => (kind === 'items' ? items : interactions)))
  const needs: StageNeeds[] = [
    {
      stage: 'ingest',
      reads: [...sources.map(({ topic }) => topic), ...foreign],
      writes: [...into, ...foreign],
      groups: sources.map(({ topic }) => ({ group: `${app}-ingest`, topic })),
      fences: []
    },
    {
      stage: 'sequence',
      // User sequences to restore histories.
      reads: [
        interactions,
        items,
        userSequences,
        ...deadLetters(interactions, items, userSequences),
        lateTopic(interactions)
      ],
      writes: [userSequences, ...deadLetters(interactions, items, userSequences), lateTopic(interactions)],
      groups: [{ group: `${app}-sequence`, topic: interactions }],
      fences: [{ topic: userSequences, fence: sequenceFence(0) }]
    },
    {
      stage: 'train',
      reads: [userSequences, items, ...deadLetters(userSequences, items)],
      writes: [modelUpdates, ...deadLetters(userSequences, items)],
      groups: [],
      fences: [{ topic: modelUpdates, fence: 'train' }]
    },
    {
      stage: 'publish',
      reads: [...published, ...deadLetters(...published)],
      writes: deadLetters(...published),
      groups: [],
      fences: []
    },
    { stage: 'serve', reads: [], writes: [interactions], groups: [], fences: [] }
  ]
  return needs.filter(({ stage }) => stage !== 'ingest' || sources.length > 0)
}
