// The short form. The long one, by hand or in CI at night: see campaign.ts.

import test from 'node:test'
import { campaignDefaults, runCampaign } from './campaign.ts'
import { skip } from './kafka.ts'

const say = (text: string) => process.stderr.write(`${text}\n`)

test('three sequencers, two publishers and a trainer, killed and stopped at random, leave what one undisturbed process leaves', {
  skip,
  timeout: 240_000
}, async () => {
  await runCampaign({ ...campaignDefaults, say })
})

test('an owner that is stopped, taken for dead, and goes on: none of its records counts', { skip, timeout: 240_000 }, async () => {
  const none = { publishers: 0, train: false, kills: 0 }
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
