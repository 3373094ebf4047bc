// The PrometheusRule of the operator, from the rule files that Prometheus itself reads:  node
// infra/k8s/writePrometheusRule.mjs
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse, stringify } from 'yaml'

const here = path.dirname(fileURLToPath(import.meta.url))

/** @returns {string} YAML */
export function prometheusRule() {
  const groups = ['recording.yml', 'alerts.yml'].flatMap(
    (file) => parse(fs.readFileSync(path.join(here, '..', 'prometheus', 'rules', file), 'utf8')).groups
  )
  const rule = {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'PrometheusRule',
    metadata: { name: 'mtmi' },
    spec: { groups }
  }
  return `# Written by ../writePrometheusRule.mjs from ../../prometheus/rules: change it there.\n${stringify(rule, { lineWidth: 140 })}`
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  fs.writeFileSync(path.join(here, 'base', 'prometheus-rule.yaml'), prometheusRule())
