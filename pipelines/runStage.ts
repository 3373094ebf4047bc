// Which file runs which stage. Each is loaded only in its own process.

import type { Config } from '../src/core/config/config.ts'
import { runStageProcess, type StageContext, type StageName, type StageProcessOptions } from './stageProcess.ts'

export async function runStage(
  stage: StageName,
  config: Config,
  options: StageProcessOptions & { readonly json?: boolean }
): Promise<void> {
  await runStageProcess(stage, config, options, await bodyOf(stage, config, options.json === true))
}

async function bodyOf(stage: StageName, config: Config, json: boolean): Promise<(c: StageContext) => Promise<void>> {
  if (stage === 'sequence') return (await import('./sequence.ts')).sequence
  if (stage === 'serve') return (await import('./serve.ts')).serve
  if (stage === 'ingest') {
    const { checkSources, ingest } = await import('./ingest.ts')
    checkSources(config)
    return (context) => ingest(context, { json })
  }
  const { trainOrPublish } = await import('./trainAndPublish.ts')
  return (context) => trainOrPublish(stage, context)
}
