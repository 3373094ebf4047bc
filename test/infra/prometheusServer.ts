// A real Prometheus on a free port of this machine, scraping every second, with its data in a folder that goes away.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { stringify } from 'yaml'

export interface Sample {
  readonly metric: Readonly<Record<string, string>>
  readonly value: number
}
export interface Alert {
  readonly name: string
  readonly state: 'pending' | 'firing'
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

/** Fails a test that waits for what does not come; far above what anything here takes. */
const patienceMs = 180_000

export class PrometheusServer {
  readonly url: string
  readonly #child: ChildProcess
  readonly #folder: string
  #output = ''

  private constructor(url: string, child: ChildProcess, folder: string) {
    this.url = url
    this.#child = child
    this.#folder = folder
    child.stderr?.on('data', (text: Buffer) => {
      this.#output += text.toString()
    })
  }

  /** @param rules texts of rule files @param targets host:port of what to scrape, as the job mtmi */
  static async start(
    binary: string,
    { rules, targets }: { rules: readonly string[]; targets: readonly string[] }
  ): Promise<PrometheusServer> {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-prometheus-'))
    mkdirSync(path.join(folder, 'rules'))
    for (const [i, text] of rules.entries()) writeFileSync(path.join(folder, 'rules', `${i}.yml`), text)
    const configuration = {
      global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
      rule_files: ['rules/*.yml'],
      scrape_configs: [{ job_name: 'mtmi', static_configs: [{ targets }] }]
    }
    writeFileSync(path.join(folder, 'prometheus.yml'), stringify(configuration))
    const address = `127.0.0.1:${await freePort()}`
    const child = spawn(
      binary,
      [
        `--config.file=${folder}/prometheus.yml`,
        `--storage.tsdb.path=${folder}/data`,
        `--web.listen-address=${address}`,
        '--log.level=warn'
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] }
    )
    const server = new PrometheusServer(`http://${address}`, child, folder)
    await server.until('Prometheus is ready', async () => {
      if (child.exitCode !== null) throw new Error(`Prometheus ended with status ${child.exitCode}: ${server.#output}`)
      return (await fetch(`${server.url}/-/ready`).catch(() => undefined))?.ok === true
    })
    return server
  }

  /** @throws Error with Prometheus' own words if it does not accept the expression */
  async query(expression: string): Promise<Sample[]> {
    const answer = await this.#get<{ result: { metric: Record<string, string>; value: [number, string] }[] }>(
      `/api/v1/query?query=${encodeURIComponent(expression)}`
    )
    return answer.result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }))
  }

  async alerts(): Promise<Alert[]> {
    type Raw = Omit<Alert, 'name'> & { labels: Record<string, string> }
    const { alerts } = await this.#get<{ alerts: Raw[] }>('/api/v1/alerts')
    return alerts.map((alert) => ({ ...alert, name: alert.labels.alertname! }))
  }

  /** Asks again and again until the answer is yes. */
  async until(what: string, condition: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + patienceMs
    while (!(await condition())) {
      if (performance.now() > deadline) throw new Error(`waited ${patienceMs / 1000} s in vain until ${what}`)
      await pause(200)
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, 'exit')
      this.#child.kill('SIGTERM')
      await ended
    }
    rmSync(this.#folder, { recursive: true, force: true })
  }

  async #get<T>(where: string): Promise<T> {
    const answer = (await (await fetch(this.url + where)).json()) as { status: string; error?: string; data: T }
    if (answer.status !== 'success') throw new Error(`${where}: ${answer.error}`)
    return answer.data
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
