// `QDRANT_URL=http://127.0.0.1:6333 npm run record:qdrant`: plays the scenario on a real server, and writes down what
// was said.

import { writeFileSync } from 'node:fs'
import { contractPrefix, contractScenario } from './contractScenario.ts'
import { type Exchange, recordFrom } from './contractServer.ts'

const target = process.env.QDRANT_URL
if (target === undefined) throw new Error('QDRANT_URL is not set: start Qdrant 1.18 and set it to its address')
const { version } = (await (await fetch(target)).json()) as { version: string }
const { result } = (await (await fetch(`${target}/collections`)).json()) as {
  result: { collections: { name: string }[] }
}
if (result.collections.length > 0) {
  for (const { name } of result.collections) {
    if (!name.startsWith(contractPrefix))
      throw new Error(`${target} holds ${name}: answers would name it. Take a server that is empty`)
    await fetch(`${target}/collections/${name}`, { method: 'DELETE' })
  }
}
const exchanges: Exchange[] = []
const server = await recordFrom(target, (exchange) => exchanges.push(exchange))
await contractScenario(server.url)
await server.close()
const lines = exchanges.map((exchange) => JSON.stringify(exchange))
writeFileSync(
  new URL('recorded.json', import.meta.url),
  `{"version":"${version}","exchanges":[\n${lines.join(',\n')}\n]}\n`
)
process.stderr.write(`${exchanges.length} exchanges with Qdrant ${version}\n`)
