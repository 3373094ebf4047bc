// What to do next with a run: commands that work as they are printed, with users and items that are in it.

import { shellReference } from '../src/core/config/config.ts'
import type { RunReport } from '../src/lab/evaluation/textReport.ts'
import type { WholePipeline } from './allInOne.ts'
import { countedTypes } from './http.ts'
import type { OneProcess } from './oneProcess.ts'
import { quoted } from './runs.ts'

/** For another shell, while the run is served at `url`. */
export async function nextStepsWhileServing(pipeline: WholePipeline, url: string, report: RunReport): Promise<string> {
  const { serve, events } = pipeline.io.config
  const { userId, itemId } = await sampleIds(pipeline, report)
  const read = tokenHeader(serve, 'readToken')
  const post = tokenHeader(serve, 'eventsToken')
  const [type = 'click'] = countedTypes(events.types)
  const event = JSON.stringify({ userId: 'me', itemId: itemId ?? 'i1', type })
  const lists = (user: string) =>
    `  curl ${read.header}${quoted(`${url}/v1/users/${encodeURIComponent(user)}/recommendations?limit=5`)}`
  return [
    '',
    `Serving on ${url} until Ctrl-C. Try in another shell:`,
    ...new Set([...read.first, ...post.first]),
    ...(userId === undefined ? [] : [lists(userId)]),
    `  curl ${post.header}'${url}/v1/events' -H 'content-type: application/json' -d ${quoted(event)}`,
    `${lists('me')}   # a second later`,
    `  ${url}/openapi.json · ${url}/metrics · ${url}/readyz`
  ].join('\n')
}

/** After `--once`. */
export async function nextStepsAfterReport(
  pipeline: WholePipeline,
  { run, command, config }: Pick<OneProcess, 'run' | 'command' | 'config'>,
  report: RunReport
): Promise<string> {
  const { userId, itemId } = await sampleIds(pipeline, report)
  const where = `${config.dataDir === 'data' ? '' : ` --data-dir ${quoted(config.dataDir)}`} --run ${run.name}`
  return [
    `\nNext, on run ${run.name}:`,
    ...(userId === undefined ? [] : [`  mtmi recommend --user ${quoted(userId)} --limit 5${where}`]),
    ...(itemId === undefined ? [] : [`  mtmi similar --item ${quoted(itemId)} --limit 5${where}`]),
    `  ${command} without --once continues from here and serves it`
  ].join('\n')
}

/** A user with a history, and a popular item; undefined where there is none yet. */
async function sampleIds(
  pipeline: WholePipeline,
  report: RunReport
): Promise<{ userId: string | undefined; itemId: string | undefined }> {
  const { index } = pipeline
  const live = await pipeline.answered(() => index.live())
  const popular = live === undefined ? [] : (await pipeline.answered(() => index.popular(1))).items
  return { userId: report.sample?.userId ?? pipeline.newestUser(1)?.userId, itemId: popular[0]?.itemId }
}

interface TokenHeader {
  /** Option of curl, with a space behind it; empty where no token is needed. */
  readonly header: string
  /** Lines that must come first. */
  readonly first: readonly string[]
}

type Tokens = Readonly<Record<'readToken' | 'eventsToken' | 'adminToken', string>>

/** A token is named by the variable or file that it came from, and never printed. */
function tokenHeader(serve: Tokens, role: 'readToken' | 'eventsToken'): TokenHeader {
  if (serve.readToken + serve.eventsToken + serve.adminToken === '') return { header: '', first: [] }
  const setting = serve[role] === '' ? 'adminToken' : role
  const variable = `MTMI_SERVE_${setting === 'readToken' ? 'READ' : setting === 'eventsToken' ? 'EVENTS' : 'ADMIN'}_TOKEN`
  const reference = shellReference(variable)
  if (serve[setting] === '') return { header: '', first: [`  # serve.${role} and serve.adminToken are not set`] }
  // Several are separated by commas or blanks: any of them will do.
  const several = /[\s,]/.test(serve[setting].trim()) ? " | tr -s ', ' '\\n' | head -n 1" : ''
  const value = several === '' ? (reference ?? `$${variable}`) : `$(echo "${reference ?? `$${variable}`}"${several})`
  return {
    header: `-H "authorization: Bearer ${value}" `,
    first: reference === undefined ? [`  export ${variable}=…   # the value of serve.${setting}`] : []
  }
}
