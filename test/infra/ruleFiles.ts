// The rule files as they are, and with every duration shortened, so that a test sees in seconds what takes minutes.

import { readFileSync } from 'node:fs'
import { parse, stringify } from 'yaml'

export interface Rule {
  readonly record?: string
  readonly alert?: string
  readonly expr: string
  readonly for?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
}
export interface RuleFile {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[]
}

export const ruleFiles = ['infra/prometheus/rules/recording.yml', 'infra/prometheus/rules/alerts.yml'] as const

export function readRules(file: string): Rule[] {
  return (parse(readFileSync(file, 'utf8')) as RuleFile).groups.flatMap(({ rules }) => rules)
}

export const alerts = () => readRules(ruleFiles[1])
export const recordedNames = () => new Set(readRules(ruleFiles[0]).map(({ record }) => record!))

/** A minute becomes a fifth of a second; a range keeps at least five, for it needs two scrapes, a second apart. */
export function shortened(file: string): string {
  const { groups } = parse(readFileSync(file, 'utf8')) as RuleFile
  return stringify({
    groups: groups.map((group) => ({
      ...group,
      rules: group.rules.map((rule) => ({
        ...rule,
        expr: rule.expr.replace(
          /(\[|\boffset\s+)(\d+[smhd])/g,
          (_, before: string, duration: string) => before + short(duration, 5)
        ),
        ...(rule.for === undefined ? {} : { for: short(rule.for, 1) })
      }))
    }))
  })
}

const secondsOf: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }

function short(duration: string, secondsMin: number): string {
  const seconds = Number(duration.slice(0, -1)) * secondsOf[duration.at(-1)!]!
  return `${Math.max(secondsMin, Math.round(seconds / 300))}s`
}
