// `mtmi study`: many evaluations, one question. Stopped, it resumes where it was: every run is kept.

import path from 'node:path'
import { systemClock } from '../../src/core/clock.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { print } from '../../src/core/terminal.ts'
import { leftOut, loadOfflineData, type OfflineData } from '../../src/lab/evaluation/offlineData.ts'
import { runOffline } from '../../src/lab/evaluation/offlineRun.ts'
import type { OfflineProtocol } from '../../src/lab/evaluation/offlineSplit.ts'
import { InterruptedRun } from '../../src/lab/evaluation/offlineTraining.ts'
import { writeReport } from '../../src/lab/evaluation/reportFiles.ts'
import { isSimpleMethod, simpleMethods } from '../../src/lab/evaluation/simpleMethods.ts'
import { startStatusLine } from '../../src/lab/evaluation/statusLine.ts'
import { type Study, type StudyCell, studyCells, studyQuestions } from '../../src/lab/evaluation/studyPlan.ts'
import { type StudyRun, studySections } from '../../src/lab/evaluation/studyReport.ts'
import { type LabConfig, labConfig } from '../../src/lab/labOptions.ts'
import { describeBackend } from '../backendInfo.ts'
import { loadConfiguredBackend } from '../configuredBackend.ts'
import { untilInterrupted } from '../interrupt.ts'

interface StudyCommand {
  readonly data: readonly string[]
  readonly format?: string
  readonly protocol: OfflineProtocol
  readonly seeds: readonly number[]
  /** Of `compare`: models and simple methods. */
  readonly models: readonly string[]
  /** Only rows whose name contains one of these. */
  readonly only: readonly string[]
  readonly out: string
  readonly json: boolean
}

export async function study(name: Study, config: LabConfig, command: StudyCommand): Promise<void> {
  const status = startStatusLine(systemClock)
  const cells = studyCells(name, {
    models: command.models.filter((model) => !isSimpleMethod(model)),
    simple: simpleMethods.filter((method) => command.models.includes(method))
  }).filter((cell) => command.only.length === 0 || command.only.some((text) => cell.name.includes(text)))
  if (cells.length === 0)
    throw new ConfigError([`study ${name}: nothing is left of it: no row has ${command.only.join(' or ')} in its name`])
  // All at once: a setting that cannot be is found before the first run, not in the night.
  const configs = cells.map((cell) => labConfig(config, settingsOf(cell)))
  const backend = cells.every(({ model }) => isSimpleMethod(model))
    ? 'none'
    : describeBackend(await loadConfiguredBackend())
  let isInterrupted = false
  void untilInterrupted().then(() => {
    isInterrupted = true
  })
  const runs: StudyRun[] = []
  const notes = new Set<string>()
  const all = cells.length * command.data.length * command.seeds.length
  const loaded = new Map<string, OfflineData>()
  try {
    for (const seed of command.seeds) {
      for (const data of command.data) {
        for (const [i, cell] of cells.entries()) {
          const cellConfig = configs[i]!
          const { features, times } = cellConfig.evaluate
          const key = JSON.stringify([data, features, times])
          const contents =
            loaded.get(key) ??
            (await loadOfflineData(cellConfig, {
              data,
              ...(command.format === undefined ? {} : { format: command.format })
            }))
          loaded.set(key, contents)
          for (const note of notesOn(name, cellConfig, contents)) notes.add(note)
          const title = `${runs.length + 1} of ${all}: ${cell.name} on ${contents.name}, seed ${seed}`
          const result = await runOffline({
            config: cellConfig,
            data: contents,
            model: cell.model,
            protocol: command.protocol,
            seed,
            backend,
            onProgress: (line) => status.show(`${title}: ${line}`),
            onNews: (line) => status.show(`${title}: ${line}`),
            interrupted: () => isInterrupted
          })
          runs.push({ cell, result })
          status.keep(`${title}: Recall@50 ${result.metrics['recall@50'].toFixed(4)}`)
        }
      }
    }
  } catch (error) {
    if (!(error instanceof InterruptedRun)) throw error
    process.exitCode = 130
    status.keep(`stopped after ${runs.length} of ${all} runs; the same command resumes there`)
  }
  if (runs.length === 0) return
  const { epochsMax, patience } = config.evaluate
  if (command.seeds.length > 1 && command.seeds.length < 5)
    notes.add(`With ${command.seeds.length} seeds, ahead and behind are hints: use five or more.`)
  const lead = `${[studyQuestions[name], ...notes].join(' ')} ${runs.length} of ${all} runs, protocol ${command.protocol}, seeds ${command.seeds.join(' ')}; at most ${epochsMax} epochs, patience ${patience}.`
  const settings = { evaluate: config.evaluate, model: config.model }
  const report = {
    title: `Study: ${name}`,
    lead,
    sections: studySections(name, runs),
    json: { study: name, protocol: command.protocol, seeds: command.seeds, settings, runs }
  }
  const page = writeReport(command.out, name, report, backend)
  status.keep(`${path.relative('.', page)}, and .md and .json beside it`)
  if (command.json) print(`${JSON.stringify(report.json)}\n`)
}

/** Which rows can show nothing, because the data lacks what they try. */
function notesOn(name: Study, { evaluate: { times, features } }: LabConfig, data: OfflineData): string[] {
  const notes = leftOut(data).map((line) => `${data.name}: ${line}.`)
  if (name === 'context' && times && !data.timed)
    notes.push(
      `${data.name} has no event times: every step is a second after the one before it, and rows about time show nothing.`
    )
  if ((name === 'context' || name === 'coldstart') && features && data.catalogue.length === 0)
    notes.push(`${data.name} has no side features: a row without them is the same run.`)
  return notes
}

function settingsOf({ model, settings }: StudyCell): Record<string, unknown> {
  return isSimpleMethod(model)
    ? settings
    : { ...settings, model: { ...(settings.model as object | undefined), name: model } }
}
