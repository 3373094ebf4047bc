// The report of a run as a page, beside the JSON.

import { runSections } from '../../src/evaluate/evaluationReport.ts'
import { htmlPage } from '../../src/evaluate/htmlPage.ts'
import type { RunReport } from '../../src/evaluate/textReport.ts'
import { type RunDirectory, writeFileAtomically } from '../parts.ts'
import { describeMachine } from './reportFiles.ts'

export function writeRunPage(run: RunDirectory, report: RunReport): void {
  const page = htmlPage(
    'What was learned',
    `From ${report.source}.`,
    runSections(report),
    `${describeMachine(report.backend ?? 'no engine')}`
  )
  writeFileAtomically(run.path('report.html'), page)
}
