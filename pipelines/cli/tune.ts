// `mtmi tune`: which settings do best on the validation users. The test users are not used. Stopped, it resumes where it
// was.

import path from 'node:path'
import { systemClock } from '../../src/core/clock.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { Rng } from '../../src/core/rng.ts'
import { print } from '../../src/core/terminal.ts'
import type { PageSection } from '../../src/lab/evaluation/htmlPage.ts'
import { leftOut, loadOfflineData, type OfflineData } from '../../src/lab/evaluation/offlineData.ts'
import { filteredUsers, validate } from '../../src/lab/evaluation/offlineRun.ts'
import { splitOffline } from '../../src/lab/evaluation/offlineSplit.ts'
import { InterruptedRun } from '../../src/lab/evaluation/offlineTraining.ts'
import { barChart } from '../../src/lab/evaluation/plots.ts'
import { writeReport } from '../../src/lab/evaluation/reportFiles.ts'
import { isSimpleMethod } from '../../src/lab/evaluation/simpleMethods.ts'
import { type StatusLine, startStatusLine } from '../../src/lab/evaluation/statusLine.ts'
import { drawTrials, rungs, type Trial } from '../../src/lab/evaluation/tuning.ts'
import { type LabConfig, labConfig } from '../../src/lab/labOptions.ts'
import { describeBackend } from '../backendInfo.ts'
import { loadConfiguredBackend } from '../configuredBackend.ts'
import { untilInterrupted } from '../interrupt.ts'

interface TuneCommand {
  readonly data: readonly string[]
  readonly models: readonly string[]
  readonly trials: number
  readonly seed: number
  readonly out: string
  readonly json: boolean
}

interface ModelTrials {
  readonly model: string
  /** Best first. */
  readonly evaluated: readonly EvaluatedTrial[]
}

interface EvaluatedTrial {
  readonly trial: Trial
  /** Best Recall@50 of the validation users, mean over the data sets, within so many epochs. */
  readonly recall: number
  readonly epochs: number
}

export async function tune(config: LabConfig, command: TuneCommand): Promise<void> {
  const simple = command.models.filter(isSimpleMethod)
  if (simple.length > 0) throw new ConfigError([`--model ${simple.join(', ')}: simple methods have nothing to tune`])
  const status = startStatusLine(systemClock)
  const datas = await loadAll(config, command, status)
  const backend = describeBackend(await loadConfiguredBackend())
  let isInterrupted = false
  void untilInterrupted().then(() => {
    isInterrupted = true
  })
  const race = { config, datas, seed: command.seed, backend, status, interrupted: () => isInterrupted }
  const trials = drawTrials(command.trials, new Rng(command.seed).fork('tune'))
  const found: ModelTrials[] = []
  try {
    for (const model of command.models) found.push({ model, evaluated: await raceTrials(race, model, trials) })
  } catch (error) {
    if (!(error instanceof InterruptedRun)) throw error
    process.exitCode = 130
    status.keep('stopped; the same command resumes there')
    return
  }
  const report = {
    title: 'Tuning',
    lead: budgetText(config, command, datas),
    sections: found.map(sectionOf),
    json: { tuning: found, seed: command.seed, data: datas.map(({ name }) => name) }
  }
  const page = writeReport(command.out, 'tune', report, backend)
  status.keep(`${path.relative('.', page)}, and .md and .json beside it`)
  if (command.json) print(`${JSON.stringify(report.json)}\n`)
  else
    for (const { model, evaluated } of found)
      print(`${model}: ${settingsText(evaluated[0]!.trial)} → ${evaluated[0]!.recall.toFixed(4)}\n`)
}

/** @throws ConfigError for data that leaves no validation users */
async function loadAll(config: LabConfig, { data, seed }: TuneCommand, status: StatusLine): Promise<OfflineData[]> {
  const datas: OfflineData[] = []
  for (const each of data) {
    const loaded = await loadOfflineData(config, { data: each })
    if (splitOffline(filteredUsers(loaded, config), 'users', seed).validation.length === 0)
      throw new ConfigError([
        `--data ${each}: no validation users are left after the filter, so settings cannot be compared. Give more data`
      ])
    for (const line of leftOut(loaded)) status.keep(`warning: ${loaded.name}: ${line}`)
    datas.push(loaded)
  }
  return datas
}

interface Race {
  readonly config: LabConfig
  readonly datas: readonly OfflineData[]
  readonly seed: number
  readonly backend: string
  readonly status: StatusLine
  readonly interrupted: () => boolean
}

/** Trains all trials for a few epochs, the best of them for more, and so on. @returns best first */
async function raceTrials(race: Race, model: string, trials: readonly Trial[]): Promise<EvaluatedTrial[]> {
  const latest = new Map<number, EvaluatedTrial>()
  let racing = trials
  for (const rung of rungs(trials.length, race.config.evaluate.epochsMax)) {
    racing = racing.slice(0, rung.trials)
    const evaluated: EvaluatedTrial[] = []
    for (const trial of racing) evaluated.push(await evaluateTrial(race, model, trial, rung.epochs))
    evaluated.sort((a, b) => b.recall - a.recall || a.trial.number - b.trial.number)
    for (const one of evaluated) latest.set(one.trial.number, one)
    racing = evaluated.map(({ trial }) => trial)
  }
  // More epochs come first: a recall after few of them does not compare with one after many.
  return [...latest.values()].sort((a, b) => b.epochs - a.epochs || b.recall - a.recall)
}

async function evaluateTrial(race: Race, model: string, trial: Trial, epochs: number): Promise<EvaluatedTrial> {
  const { config, datas, seed, backend, status, interrupted } = race
  const settings = {
    model: { ...trial.settings.model, name: model },
    evaluate: { ...trial.settings.evaluate, epochsMax: epochs }
  }
  const title = `${model}, trial ${trial.number}, ${epochs} epochs`
  let sum = 0
  for (const data of datas) {
    const show = (line: string) => status.show(`${title} on ${data.name}: ${line}`)
    sum += await validate({
      ...{ data, model, seed, backend, interrupted, config: labConfig(config, settings), protocol: 'users' },
      ...{ onProgress: show, onNews: show }
    })
  }
  const recall = sum / datas.length
  status.keep(`${title}: validation Recall@50 ${recall.toFixed(4)}${config.evaluate.memory ? ' with the memory' : ''}`)
  return { trial, recall, epochs }
}

function budgetText({ evaluate }: LabConfig, { trials, seed }: TuneCommand, datas: readonly OfflineData[]): string {
  const epochs = rungs(trials, evaluate.epochsMax).map(({ epochs, trials: count }) => `${count} for ${epochs}`)
  const names = datas.map(({ name }) => name).join(', ')
  return `${trials} trials a model, the first of them the settings in force, ${epochs.join(', ')} epochs; seed ${seed}; chosen by Recall@50 ${evaluate.memory ? 'with' : 'without'} the memory on validation users of ${names} alone.`
}

function sectionOf({ model, evaluated }: ModelTrials): PageSection {
  return {
    title: model,
    plots: [
      {
        caption: 'Validation Recall@50 of the trials that went furthest',
        svg: barChart({
          label: 'Recall@50',
          bars: evaluated.slice(0, 12).map(({ trial, recall, epochs }) => ({
            facet: '',
            name: `trial ${trial.number}, ${epochs} epochs`,
            value: recall
          }))
        })
      }
    ],
    table: {
      heads: ['trial', 'epochs', 'validation Recall@50', 'settings'],
      rows: evaluated.map(({ trial, recall, epochs }) => [
        `${trial.number}`,
        `${epochs}`,
        recall.toFixed(4),
        settingsText(trial)
      ])
    }
  }
}

function settingsText({ settings }: Trial): string {
  const parts = Object.entries(settings).flatMap(([section, values]) =>
    Object.entries(values).map(([key, value]) => `${section}.${key}=${value}`)
  )
  return parts.length === 0 ? 'as in force' : parts.join(' ')
}
