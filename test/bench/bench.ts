// `npm run bench -- NAME [ARGUMENTS]`: runs one benchmark. Each prints what it measures and, last, one JSON line.

import { readdirSync } from 'node:fs'

const folder = new URL('.', import.meta.url)
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.bench.ts'))
  .map((file) => file.slice(0, -'.bench.ts'.length))
  .sort()

const [name, ...rest] = process.argv.slice(2)
if (name === undefined || !names.includes(name)) {
  process.stderr.write(
    `${name === undefined ? '' : `there is no benchmark ${name}; `}npm run bench -- ${names.join(' | ')}\n`
  )
  process.exit(78)
}
process.argv.splice(2, process.argv.length, ...rest)
await import(new URL(`${name}.bench.ts`, folder).href)
