// Kafka: brokers, topics, and what our credentials may do with them.

import type { Config } from '../../../src/core/config/config.ts'
import { KafkaSurvey, type Right } from '../../../src/log/kafka/kafkaSurvey.ts'
import { planTopics, type TopicPlan, wantedTopics } from '../../../src/log/kafka/kafkaTopics.ts'
import { runToRead } from '../../runs.ts'
import { doubtful, type Finding, failed, failure, fine } from './finding.ts'
import { type StageName, type StageNeeds, stageNeeds } from './stageNeeds.ts'

interface KafkaLook {
  readonly limitMs: number
  /** Stage whose permissions are checked; absent: all of them. */
  readonly stage?: StageName
}

const reachAdvice = 'check kafka.brokers, that they run, and that this machine may connect to them'

export async function kafkaFindings(config: Config, { limitMs, stage }: KafkaLook): Promise<Finding[]> {
  let survey: KafkaSurvey
  try {
    survey = await KafkaSurvey.open(config.kafka, limitMs / 2)
  } catch (error) {
    return [failure('brokers', error, reachAdvice)]
  }
  try {
    const findings = [
      await brokers(survey),
      ...(await topics(config, survey, limitMs)),
      ...(await sources(config, survey))
    ]
    for (const needs of stageNeeds(config))
      if (stage === undefined || needs.stage === stage)
        findings.push(await rights(survey, runToRead(config).name, needs))
    return findings
  } finally {
    await survey.close()
  }
}

async function brokers(survey: KafkaSurvey): Promise<Finding> {
  const all = await survey.brokers()
  const silent = all.filter(({ problem }) => problem !== undefined)
  if (silent.length === 0)
    return fine('brokers', `${all.length} of ${all.length} answer: ${all.map(({ address }) => address).join(', ')}`)
  const detail = silent.map(({ nodeId, address, problem }) => `broker ${nodeId} at ${address}: ${problem}`).join('; ')
  return failed(
    'brokers',
    detail,
    'they are advertised at these addresses: correct advertised.listeners of the brokers, or start them'
  )
}

async function topics(config: Config, survey: KafkaSurvey, limitMs: number): Promise<Finding[]> {
  let plans: TopicPlan[]
  try {
    plans = await planTopics({ ...config.kafka, retryMs: limitMs / 4 }, wantedTopics(config))
  } catch (error) {
    const advice = 'grant DescribeConfigs on these topics, or run `mtmi topics plan` as a user who has it'
    return [{ ...failure('topics', error, advice), verdict: 'warning' }]
  }
  const findings: Finding[] = []
  for (const plan of plans) {
    const what = `topic ${plan.topic}`
    if (plan.action === 'make') {
      const isMissing = (await survey.topic(plan.topic)).state === 'missing'
      const detail = isMissing ? 'is not there' : 'is not there, or not for us to see'
      const advice = isMissing
        ? '`mtmi topics apply` makes it'
        : 'grant Describe on it, or make it: `mtmi topics apply`'
      findings.push(failed(what, detail, advice, 'CONFIG'))
    } else if (plan.differences.length > 0) {
      const detail = plan.differences
        .map(({ what, wanted, found }) => `${what} is ${found ?? 'unknown'}, not ${wanted}`)
        .join('; ')
      const held = plan.differences.flatMap(({ refused }) => (refused === undefined ? [] : [refused]))
      findings.push(doubtful(what, detail, held.length > 0 ? held.join('; ') : '`mtmi topics apply` changes it'))
    } else
      findings.push(
        fine(what, `${plan.partitions} ${plan.partitions === 1 ? 'partition' : 'partitions'}, settings as wanted`)
      )
  }
  return [...findings, ...(await samePartitions(config, survey))]
}

/** A user's history is in the partition of the same number as the user's interactions. */
async function samePartitions({ topics }: Config, survey: KafkaSurvey): Promise<Finding[]> {
  const [interactions, sequences] = [await survey.topic(topics.interactions), await survey.topic(topics.userSequences)]
  if (interactions.state !== 'there' || sequences.state !== 'there' || interactions.partitions === sequences.partitions)
    return []
  return [
    failed(
      'partitions',
      `${topics.interactions} has ${interactions.partitions}, ${topics.userSequences} has ${sequences.partitions}`,
      'give both the same number: a history is kept in the partition of its user',
      'CONFIG'
    )
  ]
}

async function sources(config: Config, survey: KafkaSurvey): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const { topic } of config.sources) {
    const found = await survey.topic(topic)
    if (found.state === 'there') findings.push(fine(`source ${topic}`, `${found.partitions} partitions`))
    else {
      const detail = found.state === 'missing' ? 'is not there' : 'is not there, or not for us to see'
      findings.push(failed(`source ${topic}`, detail, 'correct `sources`, or grant Describe and Read on it', 'CONFIG'))
    }
  }
  return findings
}

async function rights(
  survey: KafkaSurvey,
  run: string,
  { stage, reads, writes, groups, fences }: StageNeeds
): Promise<Finding> {
  const what = `rights of ${stage}`
  const missing: string[] = []
  const unknown: string[] = []
  const note = (right: Right, text: string) => {
    if (right === false) missing.push(text)
    if (right === undefined) unknown.push(text)
  }
  for (const topic of reads) note(await survey.mayRead(topic), `Read on topic ${topic}`)
  for (const topic of writes) note(await survey.mayWrite(topic), `Write on topic ${topic}`)
  for (const { group, topic } of groups) note(await survey.mayJoin(group, run, topic), `Read on the groups of ${group}`)
  for (const { topic, fence } of fences)
    note(await survey.mayFence(topic, fence), `Write on the transactional ids of ${topic}`)
  if (missing.length > 0)
    return failed(
      what,
      `may not ${stage}: lacks ${missing.join(', ')}`,
      'grant it to the user of kafka.sasl (docs/security.md)',
      'CONFIG'
    )
  const granted = reads.length + writes.length + groups.length + fences.length
  if (unknown.length > 0)
    return doubtful(what, `unknown until the topics exist: ${unknown.join(', ')}`, '`mtmi topics apply`')
  return fine(what, `all ${granted} granted`)
}
