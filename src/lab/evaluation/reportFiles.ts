// A report as files: JSON for programs, Markdown for a repository, HTML for a person.

import os from 'node:os'
import path from 'node:path'
import { makeFolder, writeFileAtomically } from '../../core/files.ts'
import type { RunDirectory } from '../../core/runDirectory.ts'
import { version } from '../../core/version.ts'
import { runSections } from './evaluationReport.ts'
import { htmlPage, markdownTable, type PageSection } from './htmlPage.ts'
import type { RunReport } from './textReport.ts'

export interface Report {
  readonly title: string
  readonly lead: string
  readonly sections: readonly PageSection[]
  /** All that the report was made of. */
  readonly json: unknown
}

/** @returns the path of the HTML file */
export function writeReport(
  folder: string,
  name: string,
  { title, lead, sections, json }: Report,
  backend: string
): string {
  makeFolder(path.resolve(folder))
  const file = (ending: string) => path.resolve(folder, `${name}.${ending}`)
  const machine = describeMachine(backend)
  writeFileAtomically(file('json'), `${JSON.stringify({ machine, ...(json as object) }, null, 1)}\n`)
  const tables = sections.map(({ title: heading, text, table }) => [
    `## ${heading}`,
    text,
    table === undefined ? undefined : markdownTable(table)
  ])
  const words = [`# ${title}`, lead, ...tables.flat(), `${machine}.`].filter((part) => part !== undefined)
  writeFileAtomically(file('md'), `${words.join('\n\n')}\n`)
  writeFileAtomically(file('html'), htmlPage(title, lead, sections, machine))
  return file('html')
}

function describeMachine(backend: string): string {
  const processors = os.cpus()
  const memory = Math.round(os.totalmem() / 2 ** 30)
  return `${processors.length} × ${processors[0]?.model.trim() ?? 'unknown processor'}, ${memory} GiB, Node ${process.versions.node}, ${backend}, mtmi ${version}`
}

/** The report of a run as a page, beside its JSON. */
export function writeRunPage(run: RunDirectory, report: RunReport): void {
  const machine = describeMachine(report.backend ?? 'no engine')
  const page = htmlPage('What was learned', `From ${report.source}.`, runSections(report), machine)
  writeFileAtomically(run.path('report.html'), page)
}
