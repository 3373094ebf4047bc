import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { WholePipeline } from '../../pipelines/allInOne.ts'
import { Account } from '../../src/core/account.ts'
import { resolveConfig } from '../../src/core/config/config.ts'
import { UnavailableError } from '../../src/core/errors.ts'
import { RunDirectory } from '../../src/core/runDirectory.ts'
import { simulate } from '../../src/lab/simulation/simulation.ts'

test('an index that fails for a while ends nothing: readiness says so, comes back, and what was asked meanwhile is answered', async () => {
  const dataDir = mkdtempSync(path.join(os.tmpdir(), 'mtmi-outage-'))
  const config = resolveConfig({ model: { dimensions: 8, interestCount: 2 }, train: { batchSize: 64 }, dataDir }, {})
  const problems: string[] = []
  const run = new RunDirectory(dataDir, 'run')
  mkdirSync(run.root, { recursive: true })
  const pipeline = await WholePipeline.open(config, dataDir, run, { onProblem: (text) => problems.push(text) })
  const until = async (ready: boolean) => {
    for (let waited = 0; pipeline.readiness().ready !== ready; waited += 50) {
      assert(waited < 30_000, `ready is not ${ready}: ${pipeline.readiness().detail}`)
      await pause(50)
    }
  }
  try {
    await pipeline.feed(
      's',
      simulate({ events: 600, users: 40, items: 60, topics: 4, badShare: 0 }).interactions(),
      new Account('source')
    )
    await pipeline.settle()
    await until(true)
    const { index } = pipeline
    const live = index.live.bind(index)
    index.live = () => Promise.reject(new UnavailableError('the index is down'))
    await until(false)
    assert.match(pipeline.readiness().detail, /reading what is live in the index fails since .*the index is down/)
    const answer = pipeline.answered(() => index.live())
    await pause(1500)
    assert.equal(pipeline.failure, undefined)
    await pipeline.feed('more', [], new Account('source')) // throws what has ended a stage
    index.live = live
    await until(true)
    assert.equal((await answer)?.indexVersion, (await live())?.indexVersion)
    assert.equal(problems.filter((text) => text.startsWith('reading what is live')).length, 2)
  } finally {
    await pipeline.close()
    rmSync(dataDir, { recursive: true, force: true })
  }
})
