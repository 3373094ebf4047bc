// Qdrant: whether it answers, is new enough, and which of its collections and aliases are ours.

import type { Clock } from '../../../src/core/clock.ts'
import type { Config } from '../../../src/core/config/config.ts'
import { QdrantNames } from '../../../src/index/qdrant/qdrantNames.ts'
import { type Role, roles } from '../../../src/index/vectorIndex.ts'
import { openQdrantIndex } from '../../parts.ts'
import { clockFinding } from './clockFinding.ts'
import { type Finding, failed, failure, fine } from './finding.ts'
import { httpProbe } from './httpProbe.ts'

const reachAdvice = 'check qdrant.url, that the server runs, and that this machine may connect to it'
const keyAdvice = 'give the key by MTMI_QDRANT_API_KEY_FILE'

interface Listed {
  readonly result?: {
    readonly collections?: readonly { readonly name: string }[]
    readonly aliases?: readonly { readonly alias_name: string; readonly collection_name: string }[]
  }
}

export async function qdrantFindings(config: Config, run: string, clock: Clock, timeoutMs: number): Promise<Finding[]> {
  const { qdrant } = config
  const url = qdrant.url.replace(/\/+$/, '')
  const what = `Qdrant ${url}`
  const headers: Record<string, string> = qdrant.apiKey === '' ? {} : { 'api-key': qdrant.apiKey }
  const ask = (path: string) => httpProbe(url + path, { clock, timeoutMs, headers })
  let listed: Listed
  let aliases: Listed
  const findings: Finding[] = []
  try {
    const collections = await ask('/collections')
    findings.push(clockFinding(url, collections.clockAheadMs, config))
    if (collections.status === 401 || collections.status === 403)
      return [failed(what, `does not let us in (${collections.status})`, keyAdvice, 'CONFIG'), ...findings]
    const found = await ask('/aliases')
    if (collections.status !== 200 || found.status !== 200)
      return [
        failed(
          what,
          `answers ${collections.status} and ${found.status} where it should list collections`,
          'is qdrant.url that of a Qdrant?',
          'CONFIG'
        )
      ]
    listed = collections.body as Listed
    aliases = found.body as Listed
  } catch (error) {
    return [failure(what, error, reachAdvice)]
  }
  return [
    await index(config, run, what, timeoutMs),
    ...findings,
    ...named(new QdrantNames(qdrant.prefix), listed, aliases)
  ]
}

async function index(config: Config, run: string, what: string, timeoutMs: number): Promise<Finding> {
  const patience = { timeoutMs, retryMs: 0, searchRetryMs: 0 }
  const opened = await openQdrantIndex({ ...config, qdrant: { ...config.qdrant, ...patience } }, run)
  try {
    const version = await opened.version()
    const live = await opened.live()
    if (live === undefined) return fine(what, `version ${version}, nothing published yet`)
    return fine(
      what,
      `version ${version}; index version ${live.indexVersion}, step ${live.step}, ${live.items} items, ${live.users} users`
    )
  } catch (error) {
    return failure(what, error, reachAdvice)
  } finally {
    await opened.close()
  }
}

/** Both aliases name collections of one index version, or neither is there. */
function named(names: QdrantNames, listed: Listed, { result }: Listed): Finding[] {
  const collections = (listed.result?.collections ?? []).map(({ name }) => name)
  const ours = collections.filter((name) => roles.some((role) => names.indexVersionOf(role, name) !== undefined))
  const target = (role: Role) =>
    result?.aliases?.find(({ alias_name }) => alias_name === names.alias(role))?.collection_name
  const [items, users] = [target('item'), target('user')]
  const findings = [
    fine('collections', ours.length === 0 ? `none of ours among ${collections.length}` : ours.sort().join(', '))
  ]
  const what = 'aliases'
  if (items === undefined && users === undefined)
    return [...findings, fine(what, 'none yet: the first promotion makes them')]
  const versions = [items && names.indexVersionOf('item', items), users && names.indexVersionOf('user', users)]
  const detail = `${names.alias('item')} → ${items ?? 'nothing'}, ${names.alias('user')} → ${users ?? 'nothing'}`
  if (versions[0] !== undefined && versions[0] === versions[1]) return [...findings, fine(what, detail)]
  const advice =
    'another program has changed them: restart `publish`, which sets both at its next promotion, or set both to one index version'
  return [...findings, failed(what, `do not belong together: ${detail}`, advice, 'CONFIG')]
}
