// The report of a run as a page, beside the JSON.

import { writeFileAtomically } from '../../core/files.ts'
import type { RunDirectory } from '../../core/runDirectory.ts'
import { runSections } from './evaluationReport.ts'
import { htmlPage } from './htmlPage.ts'
import { describeMachine } from './reportFiles.ts'
import type { RunReport } from './textReport.ts'

export function writeRunPage(run: RunDirectory, report: RunReport): void {
  const page = htmlPage(
    'What was learned',
    `From ${report.source}.`,
    runSections(report),
    `${describeMachine(report.backend ?? 'no engine')}`
  )
  writeFileAtomically(run.path('report.html'), page)
}
