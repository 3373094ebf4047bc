// Limits are for a test that hangs: where many things run at once on two cores, starting a process alone takes ten
// seconds.

import test from 'node:test'
import { campaignDefaults, runCampaign } from './campaign.ts'
import { skip } from './kafka.ts'

const say = (text: string) => process.stderr.write(`${text}\n`)

test('three of each stage and a trainer, killed 30 times and stopped at random, leave what one undisturbed process leaves', {
  skip,
  timeout: 1_800_000
}, async () => {
  await runCampaign({
    ...campaignDefaults,
    kills: 30,
    stops: 2,
    users: 20_000,
    events: 300_000,
    blowIntervalMs: 3000,
    say
  })
})

test('an owner that is stopped, taken for dead, and goes on: none of its records counts', {
  skip,
  timeout: 1_800_000
}, async () => {
  const none = { ingesters: 0, publishers: 0, train: false, kills: 0 }
  await runCampaign({
    ...campaignDefaults,
    ...none,
    seed: 7,
    stops: 4,
    events: 60_000,
    users: 3000,
    paced: false,
    blowIntervalMs: 1500,
    say
  })
})
