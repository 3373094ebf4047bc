// `mtmi setup`: runs infra/setup.mjs from the installed package.

import { existsSync } from 'node:fs'

/** Of the sources, one folder up; of what was built, two. */
const candidates = ['../../infra/setup.mjs', '../../../infra/setup.mjs']

export async function setUp(): Promise<void> {
  const script = candidates.map((candidate) => new URL(candidate, import.meta.url)).find((url) => existsSync(url))
  if (script === undefined) throw new Error(`none of ${candidates.join(', ')} is there, seen from ${import.meta.url}`)
  const module = (await import(script.href)) as { setUp: (options: { asked: boolean }) => void }
  module.setUp({ asked: true })
}
