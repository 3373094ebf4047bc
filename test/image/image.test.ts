// The image as a container engine would run it: infra/Dockerfile is built, then every service of compose.yaml that uses
// the image runs from its file system, with a read-only root, as the image's user, on a real Kafka and Prometheus.

import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test, { after } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { parse } from 'yaml'
import { ensurePrometheus } from '../../infra/prometheus/ensure.mjs'
import { freePort, PrometheusServer } from '../infra/prometheusServer.ts'
import { RegistryServer } from '../support/registryServer.ts'
import { BuiltImage, missingTools } from './buildah.ts'

interface Service {
  readonly image: string
  readonly command: readonly string[]
  readonly environment: Readonly<Record<string, string>>
  readonly volumes: readonly string[]
  readonly secrets?: readonly string[]
  readonly healthcheck?: { readonly disable?: boolean }
  readonly stop_grace_period: string
}

const bytesMax = 700e6
const patienceMs = 240_000
const broker = process.env.KAFKA_BROKERS
const missing = missingTools() ?? (broker === undefined ? 'no Kafka broker: use `npm run test:image`' : undefined)
const skip = missing === undefined ? false : `THE IMAGE IS NOT TESTED: ${missing}`

const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-image-'))
let image: BuiltImage | undefined
after(() => image?.remove())

test(`the image is built by infra/Dockerfile and has less than ${bytesMax / 1e6} MB`, { skip }, () => {
  image = BuiltImage.build(folder)
  process.stderr.write(`image: ${(image.bytes / 1e6).toFixed(0)} MB\n${image.largest()}\n`)
  assert(image.bytes < bytesMax, `${image.bytes} bytes`)
})

test('every service of compose.yaml runs from the image, is scraped, and ends at SIGTERM', { skip }, async () => {
  const stack = await Stack.start(image!)
  try {
    await stack.complete('topics')
    await stack.complete('schemas')
    for (const name of ['sequence', 'train', 'publish', 'serve']) await stack.run(name)
    for (const name of stack.running) await stack.untilHealthy(name)
    await stack.complete('simulate', ['simulate', '--events', '3000'])

    const serve = stack.url('serve')
    const user = `${serve}/v1/users/u1/recommendations`
    await stack.until('a list by the read token', async () => {
      const answer = await fetch(user, { headers: { authorization: `Bearer ${stack.secret('read-token')}` } })
      if (answer.status !== 200) return false
      return ((await answer.json()) as { items: unknown[] }).items.length > 0
    })
    assert.equal((await fetch(user)).status, 401, 'a token is a file of the container, and is required')

    const found = ensurePrometheus()
    if ('missing' in found) process.stderr.write(`PROMETHEUS DID NOT SCRAPE THE IMAGE: ${found.missing}\n`)
    else {
      const prometheus = await PrometheusServer.start(found.prometheus, { rules: [], targets: stack.targets() })
      try {
        await prometheus.until('every stage is scraped', async () => {
          const up = await prometheus.query('up{job="mtmi"} == 1')
          return up.length === stack.running.length
        })
      } finally {
        await prometheus.stop()
      }
    }
    const write = stack.spawn('serve', ['node', '-e', `require('fs').writeFileSync('/opt/mtmi/x', '')`])
    assert.notEqual(await write.status, 0)
    assert.match(write.output(), /EROFS/, 'the root is read-only')
    await stack.stop()
  } finally {
    await stack.close()
  }
})

/** A process from the image, and what it printed. */
interface Running {
  readonly child: ChildProcess
  readonly status: Promise<number | null>
  readonly output: () => string
}

class Stack {
  readonly #image: BuiltImage
  readonly #registry: RegistryServer
  readonly #services: Readonly<Record<string, Service>>
  readonly #ports = new Map<string, number>()
  readonly #running = new Map<string, Running>()

  private constructor(image: BuiltImage, registry: RegistryServer, services: Readonly<Record<string, Service>>) {
    this.#image = image
    this.#registry = registry
    this.#services = services
  }

  static async start(image: BuiltImage): Promise<Stack> {
    const read = (file: string) =>
      (parse(readFileSync(`infra/${file}`, 'utf8'), { merge: true }) as { services: Record<string, Service> }).services
    const services = read('compose.yaml')
    for (const [name, { environment, secrets }] of Object.entries(read('compose.tokens.yaml'))) {
      const service = services[name]!
      services[name] = { ...service, secrets: secrets ?? [], environment: { ...service.environment, ...environment } }
    }
    const stack = new Stack(image, await new RegistryServer().start(), services)
    for (const [name, { image }] of Object.entries(services)) {
      if (!image.startsWith('mtmi-stream:')) continue
      stack.#ports.set(`${name}.ops`, await freePort())
      stack.#ports.set(`${name}.http`, await freePort())
    }
    return stack
  }

  get running(): string[] {
    return [...this.#running.keys()]
  }

  url(name: string): string {
    return `http://127.0.0.1:${this.#ports.get(`${name}.http`)}`
  }

  targets(): string[] {
    return this.running.map((name) => `127.0.0.1:${this.#ports.get(`${name}.ops`)}`)
  }

  secret(name: string): string {
    return `${name}-of-the-test-0123456789`
  }

  /** Starts a service that runs until it is stopped. */
  async run(name: string): Promise<void> {
    this.#running.set(name, this.spawn(name))
  }

  /** Runs a service to its end. @throws if it fails */
  async complete(name: string, command?: readonly string[]): Promise<void> {
    const args = command === undefined ? undefined : [...this.#image.config.Entrypoint, ...command]
    const process = this.spawn(name, args)
    assert.equal(await process.status, 0, `${name}: ${process.output()}`)
  }

  /** @param command default: that of the service, by the image's entry point */
  spawn(name: string, command = [...this.#image.config.Entrypoint, ...this.#services[name]!.command]): Running {
    const { environment, volumes, secrets = [] } = this.#services[name]!
    const data = path.join(folder, 'volumes', volumes[0]!.split(':')[0]!)
    mkdirSync(data, { recursive: true })
    const files: Record<string, string> = {}
    for (const secret of secrets) {
      const file = path.join(folder, secret)
      writeFileSync(file, this.secret(secret))
      chmodSync(file, 0o444)
      files[`/run/secrets/${secret}`] = file
    }
    // What differs from compose: its network's names are loopback addresses, and every process has ports of its own.
    const env = {
      ...environment,
      MTMI_KAFKA_BROKERS: broker!,
      MTMI_REGISTRY_URL: this.#registry.url,
      MTMI_OPS_HOST: '127.0.0.1',
      MTMI_OPS_PORT: String(this.#ports.get(`${name}.ops`)),
      ...(name === 'serve' && {
        MTMI_SERVE_HOST: '127.0.0.1',
        MTMI_SERVE_PORT: String(this.#ports.get(`${name}.http`))
      })
    }
    const child = this.#image.spawn(command, { data, files, env })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (text: Buffer) => {
        output += text.toString()
      })
    const status = once(child, 'close').then(([code]) => code as number | null)
    return { child, status, output: () => output }
  }

  /** By the image's own health check. */
  async untilHealthy(name: string): Promise<void> {
    const [, ...command] = this.#image.config.Healthcheck.Test
    await this.until(`${name} is healthy`, async () => (await this.spawn(name, command).status) === 0)
  }

  async until(what: string, condition: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + patienceMs
    while (!(await condition())) {
      for (const [name, { child, output }] of this.#running)
        assert.equal(child.exitCode, null, `${name} ended: ${output()}`)
      assert(performance.now() < deadline, `waited ${patienceMs / 1000} s in vain until ${what}`)
      await pause(500)
    }
  }

  /** As an engine does. @throws AssertionError for a service that does not end well within its grace period */
  async stop(): Promise<void> {
    const ended = this.running.map(async (name) => {
      const { child, status, output } = this.#running.get(name)!
      child.kill('SIGTERM')
      const graceMs = Number.parseInt(this.#services[name]!.stop_grace_period, 10) * 1000
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMs)
      assert.equal(await status, 0, `${name}, ended by ${child.signalCode ?? 'itself'}: ${output()}`)
      clearTimeout(timer)
    })
    await Promise.all(ended)
  }

  async close(): Promise<void> {
    for (const { child } of this.#running.values()) child.kill('SIGKILL')
    await Promise.all([...this.#running.values()].map(({ status }) => status))
    await this.#registry.stop()
  }
}
