// `mtmi evaluate`: how well a model does on a data set, or the report of a run.

import path from 'node:path'
import { systemClock } from '../../src/core/clock.ts'
import type { Config } from '../../src/core/config/config.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { print } from '../../src/core/terminal.ts'
import type { DatasetReading } from '../../src/lab/dataset/dataset.ts'
import { offlineSections, streamSections } from '../../src/lab/evaluation/evaluationReport.ts'
import { leftOut, loadOfflineData, type OfflineData } from '../../src/lab/evaluation/offlineData.ts'
import { type OfflineResult, summarise } from '../../src/lab/evaluation/offlineResult.ts'
import { resultFile, runFolder, runOffline } from '../../src/lab/evaluation/offlineRun.ts'
import type { OfflineProtocol } from '../../src/lab/evaluation/offlineSplit.ts'
import { offlineText } from '../../src/lab/evaluation/offlineText.ts'
import { InterruptedRun } from '../../src/lab/evaluation/offlineTraining.ts'
import { writeReport } from '../../src/lab/evaluation/reportFiles.ts'
import { isSimpleMethod } from '../../src/lab/evaluation/simpleMethods.ts'
import { type StatusLine, startStatusLine } from '../../src/lab/evaluation/statusLine.ts'
import { isCounting } from '../../src/lab/evaluation/streamLearner.ts'
import type { StreamPolicy, StreamResult } from '../../src/lab/evaluation/streamResult.ts'
import { runStream, streamFolder } from '../../src/lab/evaluation/streamRun.ts'
import { streamText } from '../../src/lab/evaluation/streamText.ts'
import { type RunReport, runReport, textReport } from '../../src/lab/evaluation/textReport.ts'
import type { LabConfig } from '../../src/lab/labOptions.ts'
import { describeBackend } from '../backendInfo.ts'
import { loadConfiguredBackend } from '../configuredBackend.ts'
import { untilInterrupted } from '../interrupt.ts'
import { runToRead } from '../runs.ts'
import { collectVersions } from '../versionsReport.ts'

interface EvaluateCommand extends DatasetReading {
  /** Without it: the report of a run. */
  readonly data?: string
  /** A name of model.name, or a simple method. */
  readonly model: string
  readonly protocol: OfflineProtocol | 'stream'
  readonly policy?: StreamPolicy
  readonly seeds: readonly number[]
  readonly fresh: boolean
  readonly json: boolean
}

export async function evaluate(config: LabConfig, command: EvaluateCommand): Promise<void> {
  if (command.data === undefined) return showRun(config, command.json)
  const { protocol, model, policy = 'replay' } = command
  if (command.policy !== undefined && protocol !== 'stream')
    throw new ConfigError([
      `--policy ${policy} says how a model is updated from period to period: give --protocol stream with it`
    ])
  const status = startStatusLine(systemClock)
  const data = await loadOfflineData(config, { ...command, data: command.data }, (text) => status.keep(text))
  warn(data, command, status)
  const counts = protocol === 'stream' ? isCounting(policy) : isSimpleMethod(model)
  if (protocol === 'stream' && !counts && isSimpleMethod(model))
    throw new ConfigError([
      `--model ${model} is not a model: with --protocol stream simple methods are policies, such as --policy cumulative-markov`
    ])
  const backend = counts ? 'none' : describeBackend(await loadConfiguredBackend())
  let isInterrupted = false
  void untilInterrupted().then(() => {
    isInterrupted = true
  })
  const offline: OfflineResult[] = []
  const stream: StreamResult[] = []
  const folders: string[] = []
  for (const seed of command.seeds) {
    const title = `${counts && protocol === 'stream' ? policy : model} on ${data.name}${command.seeds.length > 1 ? `, seed ${seed}` : ''}`
    const run = {
      config,
      data,
      model,
      seed,
      backend,
      fresh: command.fresh,
      onProgress: (line: string) => status.show(`${title}: ${line}`),
      onNews: (line: string) => status.keep(`${title}: ${line}`),
      interrupted: () => isInterrupted
    }
    try {
      if (protocol === 'stream') stream.push(await runStream({ ...run, policy }))
      else offline.push(await runOffline({ ...run, protocol }))
    } catch (error) {
      if (!(error instanceof InterruptedRun)) throw error
      status.keep(`${title}: ${error.message}; the same command resumes there`)
      process.exitCode = 130
      return
    }
    folders.push(protocol === 'stream' ? streamFolder({ ...run, policy }) : runFolder({ ...run, protocol }))
    const file =
      protocol === 'stream'
        ? path.join(streamFolder({ ...run, policy }), 'result.json')
        : resultFile({ ...run, protocol })
    status.keep(`${title}: ${path.relative('.', file)}`)
  }
  const sections = protocol === 'stream' ? streamSections(stream) : offlineSections(summarise(offline))
  const title = `${counts && protocol === 'stream' ? policy : model} on ${data.name}`
  const described = [data.describe, ...leftOut(data)].join('. ')
  const lead = `Protocol ${protocol}, seed${command.seeds.length > 1 ? 's' : ''} ${command.seeds.join(' ')}. ${described}`
  const { records } = data
  const report = { title, lead, sections, json: { records, runs: protocol === 'stream' ? stream : offline } }
  status.keep(`report: ${path.relative('.', writeReport(folders.at(-1)!, 'report', report, backend))}`)
  if (protocol === 'stream') {
    if (command.json) print(`${JSON.stringify({ ...(stream.length === 1 ? stream[0] : { runs: stream }), records })}\n`)
    else print(`\n${stream.map(streamText).join('\n')}`)
    return
  }
  const summary = summarise(offline)
  if (command.json) print(`${JSON.stringify({ ...(offline.length === 1 ? offline[0] : summary), records })}\n`)
  else print(`\n${offlineText(summary)}`)
}

function warn(data: OfflineData, { protocol, data: given }: EvaluateCommand, status: StatusLine): void {
  if ((protocol === 'time' || protocol === 'stream') && !data.ordered)
    throw new ConfigError([
      `--protocol ${protocol}: ${given} has each user's own order only, so the order between users is unknown. Choose users or leave-one-out, or give data with times`
    ])
  for (const note of [...leftOut(data), ...data.notes]) status.keep(`warning: ${note}`)
}

/** The report that the last start or replay ended with. */
async function showRun(config: Config, json: boolean): Promise<void> {
  const run = runToRead(config)
  const report = run.state(runReport).load()
  if (report === undefined)
    throw new ConfigError([
      `there is no report in ${run.root}: run \`mtmi start\` or \`mtmi replay --data PATH --once\` first, or give a data set with --data`
    ])
  const { live } = await collectVersions(config, run)
  const held =
    live === null || report.indexVersion === undefined || live.indexVersion === report.indexVersion
      ? report.held
      : [
          `the report is of ${report.indexVersion}, and ${live.indexVersion} is served since (\`mtmi versions\`); the next start writes a new one`
        ]
  const shown: RunReport = { ...report, ...(held === undefined ? {} : { held }) }
  print(json ? `${JSON.stringify(held === undefined ? (report.progressive ?? {}) : { held })}\n` : textReport(shown))
}
