// Whether a server's clock and ours agree: freshness, lateness, tokens and certificates all rely on it.

import type { Config } from '../../../src/core/config/config.ts'
import { doubtful, type Finding, failed, fine } from './finding.ts'

/** What NTP keeps by far, and the header's whole seconds cannot hide. */
const skewMaxMs = 5000

/** @param aheadMs how far the server's clock is ahead of ours, milliseconds; undefined: it does not say */
export function clockFinding(server: string, aheadMs: number | undefined, { events }: Pick<Config, 'events'>): Finding {
  const what = `clock of ${server}`
  if (aheadMs === undefined) return fine(what, 'not in its answers')
  const detail = `${(Math.abs(aheadMs) / 1000).toFixed(0)} s ${aheadMs > 0 ? 'ahead of' : 'behind'} this machine's`
  const advice = 'run NTP on both machines: ages, lateness and freshness are measured from one clock to the other'
  if (Math.abs(aheadMs) > events.futureMaxMs)
    return failed(what, `${detail}: events are refused as from the future (events.futureMaxMs)`, advice)
  return Math.abs(aheadMs) > skewMaxMs
    ? doubtful(what, detail, advice)
    : fine(what, 'agrees with this machine’s to a second or two')
}
