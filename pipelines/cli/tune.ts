// `mtmi tune`: which settings do best on the validation users. The test users are not looked at. Stopped, it goes on
// where it was.

import path from 'node:path'
import { systemClock } from '../../src/core/clock.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { Rng } from '../../src/core/rng.ts'
import { print } from '../../src/core/terminal.ts'
import type { PageSection } from '../../src/lab/evaluation/htmlPage.ts'
import { leftOut, loadOfflineData, type OfflineData } from '../../src/lab/evaluation/offlineData.ts'
import { filteredUsers, InterruptedRun, validate } from '../../src/lab/evaluation/offlineRun.ts'
import { splitOffline } from '../../src/lab/evaluation/offlineSplit.ts'
import { barChart } from '../../src/lab/evaluation/plots.ts'
import { writeReport } from '../../src/lab/evaluation/reportFiles.ts'
import { isSimpleMethod } from '../../src/lab/evaluation/simpleMethods.ts'
import { startStatusLine } from '../../src/lab/evaluation/statusLine.ts'
import { drawTrials, rungs, type Trial } from '../../src/lab/evaluation/tuning.ts'
import { type LabConfig, labConfig } from '../../src/lab/labOptions.ts'
import { describeBackend } from '../backendInfo.ts'
import { loadConfiguredBackend } from '../configuredBackend.ts'
import { untilInterrupted } from '../interrupt.ts'

export interface TuneCommand {
  readonly data: readonly string[]
  readonly models: readonly string[]
  readonly trials: number
  readonly seed: number
  readonly out: string
  readonly json: boolean
}

interface Judged {
  readonly trial: Trial
  /** Best Recall@50 of the validation users, mean over the data sets, within so many epochs. */
  readonly recall: number
  readonly epochs: number
}

export async function tune(config: LabConfig, command: TuneCommand): Promise<void> {
  const simple = command.models.filter(isSimpleMethod)
  if (simple.length > 0) throw new ConfigError([`--model ${simple.join(', ')}: simple methods have nothing to tune`])
  const status = startStatusLine(systemClock)
  const datas: OfflineData[] = []
  for (const data of command.data) {
    const loaded = await loadOfflineData(config, { data })
    if (splitOffline(filteredUsers(loaded, config), 'users', command.seed).validation.length === 0)
      throw new ConfigError([
        `--data ${data}: no validation users are left after the filter, so nothing tells which settings are better. Give more data`
      ])
    for (const line of leftOut(loaded)) status.keep(`warning: ${loaded.name}: ${line}`)
    datas.push(loaded)
  }
  const backend = describeBackend(await loadConfiguredBackend())
  let asked = false
  void untilInterrupted().then(() => {
    asked = true
  })
  const trials = drawTrials(command.trials, new Rng(command.seed).fork('tune'))
  const found: { model: string; judged: Judged[] }[] = []
  try {
    for (const model of command.models) {
      const latest = new Map<number, Judged>()
      let racing = trials
      for (const rung of rungs(trials.length, config.evaluate.epochsMax)) {
        racing = racing.slice(0, rung.trials)
        const judged: Judged[] = []
        for (const trial of racing) {
          const settings = {
            model: { ...trial.settings.model, name: model },
            evaluate: { ...trial.settings.evaluate, epochsMax: rung.epochs }
          }
          const title = `${model}, trial ${trial.number}, ${rung.epochs} epochs`
          let sum = 0
          for (const data of datas) {
            const say = (line: string) => status.show(`${title} on ${data.name}: ${line}`)
            sum += await validate({
              config: labConfig(config, settings),
              data,
              model,
              protocol: 'users',
              seed: command.seed,
              backend,
              onProgress: say,
              onNews: say,
              interrupted: () => asked
            })
          }
          judged.push({ trial, recall: sum / datas.length, epochs: rung.epochs })
          status.keep(`${title}: validation Recall@50 ${(sum / datas.length).toFixed(4)}`)
        }
        judged.sort((a, b) => b.recall - a.recall || a.trial.number - b.trial.number)
        for (const one of judged) latest.set(one.trial.number, one)
        racing = judged.map(({ trial }) => trial)
      }
      // Who went further comes first: a recall after few epochs is no match for one after many.
      found.push({ model, judged: [...latest.values()].sort((a, b) => b.epochs - a.epochs || b.recall - a.recall) })
    }
  } catch (error) {
    if (!(error instanceof InterruptedRun)) throw error
    process.exitCode = 130
    status.keep('stopped; the same command goes on from there')
    return
  }
  const budget = `${command.trials} trials a model, the first of them the settings in force, ${rungs(
    command.trials,
    config.evaluate.epochsMax
  )
    .map(({ epochs, trials: count }) => `${count} for ${epochs}`)
    .join(
      ', '
    )} epochs; seed ${command.seed}; chosen by Recall@50 on validation users of ${datas.map(({ name }) => name).join(', ')} alone.`
  const report = {
    title: 'Tuning',
    lead: budget,
    sections: found.map(sectionOf),
    json: { tuning: found, seed: command.seed, data: datas.map(({ name }) => name) }
  }
  const page = writeReport(command.out, 'tune', report, backend)
  status.keep(`${path.relative('.', page)}, and .md and .json beside it`)
  if (command.json) print(`${JSON.stringify(report.json)}\n`)
  else
    for (const { model, judged } of found)
      print(`${model}: ${settingsText(judged[0]!.trial)} → ${judged[0]!.recall.toFixed(4)}\n`)
}

function sectionOf({ model, judged }: { model: string; judged: readonly Judged[] }): PageSection {
  return {
    title: model,
    plots: [
      {
        caption: 'Validation Recall@50 of the trials that went furthest',
        svg: barChart({
          label: 'Recall@50',
          bars: judged.slice(0, 12).map(({ trial, recall, epochs }) => ({
            facet: '',
            name: `trial ${trial.number}, ${epochs} epochs`,
            value: recall
          }))
        })
      }
    ],
    table: {
      heads: ['trial', 'epochs', 'validation Recall@50', 'settings'],
      rows: judged.map(({ trial, recall, epochs }) => [
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
