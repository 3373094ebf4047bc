// What can be known of the image, the compose file and the manifests without an engine or a cluster.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { parse, parseAllDocuments, stringify } from 'yaml'
import { ensureValidator } from '../../infra/k8s/ensureValidator.mjs'
import { prometheusRule } from '../../infra/k8s/writePrometheusRule.mjs'
import { configSchema, resolveConfig, variablePaths } from '../../src/core/config/config.ts'

const settings = variablePaths(configSchema)
/** @throws AssertionError or ConfigError where a variable does not exist, or a value cannot be */
function checkVariables(where: string, variables: Readonly<Record<string, string>>): void {
  const ours = Object.fromEntries(
    Object.entries(variables).filter(([name]) => name.startsWith('MTMI_') && !name.endsWith('_FILE'))
  )
  for (const name of Object.keys(variables)) {
    if (!name.startsWith('MTMI_')) continue
    const setting = settings.has(name) ? name : name.replace(/_FILE$/, '')
    assert(settings.has(setting), `${where}: there is no setting ${name}`)
  }
  assert.doesNotThrow(() => resolveConfig(undefined, ours), where)
}

// The image
// ---------------------------------------------------------------------------------------------------------------

const dockerfile = readFileSync('infra/Dockerfile', 'utf8')
const lastStage = dockerfile.slice(dockerfile.lastIndexOf('\nFROM ') + 1)

test('the image: pinned, not root, with a health check, and nothing copied that the ignore file keeps out', () => {
  for (const [, image] of dockerfile.matchAll(/^FROM (\S+)/gm))
    assert.match(image!, /:(\d+\.\d+\.\d+-|bookworm-\d{8}-)/, 'an image without its full version')
  assert.match(lastStage, /^USER 1000:1000$/m)
  assert(
    lastStage.indexOf('USER') < lastStage.indexOf('ENTRYPOINT') && lastStage.indexOf('COPY') < lastStage.indexOf('USER')
  )
  assert.match(lastStage, /^HEALTHCHECK .* CMD \["node", "infra\/healthcheck\.mjs"\]$/m)
  const allowed = readFileSync('infra/Dockerfile.dockerignore', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('!'))
    .map((line) => line.slice(1))
  for (const [, sources] of dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm))
    for (const source of sources!.split(' ')) {
      assert(existsSync(source), `COPY ${source}: there is no such file`)
      assert(
        allowed.some((one) => source === one || source.startsWith(`${one}/`)),
        `COPY ${source}: Dockerfile.dockerignore keeps it out`
      )
    }
})

test('what the last stage copies is enough to run: built, and without the sources', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-image-'))
  try {
    // Whether the types are right is another check's business: this one wants what is emitted.
    const built = spawnSync(
      process.execPath,
      ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--outDir', path.join(folder, 'dist')],
      {
        encoding: 'utf8'
      }
    )
    assert(existsSync(path.join(folder, 'dist/pipelines/cli/cli.js')), built.stdout)
    for (const [, from, copied] of lastStage.matchAll(/^COPY (--from=build )?(.+)$/gm)) {
      const words = copied!.split(' ')
      const to = words.pop()!
      for (const source of words) {
        if (from !== undefined) continue // dist is built above, dependencies are linked below
        const target = to.endsWith('/') ? path.join(folder, to, path.basename(source)) : path.join(folder, to)
        mkdirSync(path.dirname(target), { recursive: true })
        cpSync(source, target, { recursive: true })
      }
    }
    symlinkSync(path.resolve('node_modules'), path.join(folder, 'node_modules'))
    const run = (...args: string[]) =>
      spawnSync(process.execPath, ['infra/mtmi.mjs', ...args], {
        cwd: folder,
        encoding: 'utf8',
        env: { ...process.env, MTMI_DATA_DIR: path.join(folder, 'data') }
      })
    const doctor = run('doctor', '--json')
    assert.equal(doctor.status, 0, doctor.stderr)
    assert.equal((JSON.parse(doctor.stdout.trim().split('\n').at(-1)!) as { ok: boolean }).ok, true)
    const report = run('start', '--events', '500', '--once', '--json')
    assert.equal(report.status, 0, report.stderr)
    assert.equal(
      (JSON.parse(report.stdout.trim().split('\n').at(-1)!) as { interactions: number }).interactions >= 500,
      true
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('the health check fails where nothing listens', () => {
  const { status } = spawnSync(process.execPath, ['infra/healthcheck.mjs'], {
    env: { ...process.env, MTMI_OPS_PORT: '1' }
  })
  assert.equal(status, 1)
})

// The compose file
// --------------------------------------------------------------------------------------------------------

interface Service {
  readonly image: string
  readonly command?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly volumes?: readonly string[]
  readonly ports?: readonly string[]
  readonly depends_on?: Readonly<Record<string, { condition: string }>> | readonly string[]
  readonly healthcheck?: { readonly disable?: boolean }
  readonly pid?: string
  readonly restart?: string
  readonly profiles?: readonly string[]
}
const compose = parse(readFileSync('infra/compose.yaml', 'utf8'), { merge: true }) as {
  services: Record<string, Service>
  volumes: Record<string, null>
}
const services = Object.entries(compose.services)
const commandFiles = readdirSync('pipelines/cli').filter((name) => name.endsWith('.ts'))
const verbs = new Set(
  commandFiles.flatMap((name) =>
    [...readFileSync(`pipelines/cli/${name}`, 'utf8').matchAll(/(?:addCommand\(\s*program,\s*|\n {2}\[)'(\w+)'/g)].map(
      ([, verb]) => verb!
    )
  )
)

test('compose: every setting, command, volume and dependency exists, and images are pinned', () => {
  for (const [name, service] of services) {
    assert.match(service.image, /^[\w/.-]+:v?\d+\.\d+\.\d+$/, name)
    checkVariables(name, service.environment ?? {})
    for (const [variable, value] of Object.entries(service.environment ?? {}))
      assert.equal(typeof value, 'string', `${name}: ${variable} is not text`)
    if (service.image.startsWith('mtmi-stream:'))
      assert(
        service.command!.some((word) => verbs.has(word)),
        `${name}: ${service.command?.join(' ')}`
      )
    for (const volume of service.volumes ?? []) {
      const source = volume.split(':')[0]!
      if (source.startsWith('./'))
        assert(source === './mtmi.yaml' || existsSync(path.join('infra', source)), `${name}: ${source}`)
      else assert(source in compose.volumes, `${name}: there is no volume ${source}`)
    }
    const needs = Array.isArray(service.depends_on)
      ? service.depends_on.map((on: string) => [on, undefined])
      : Object.entries(service.depends_on ?? {})
    for (const [on, how] of needs as [string, { condition: string } | undefined][]) {
      const other = compose.services[on]
      assert(other !== undefined, `${name} depends on ${on}, which is not there`)
      if (how?.condition === 'service_completed_successfully') assert.equal(other.restart, 'no', `${on} is to end`)
      if (how?.condition === 'service_healthy') assert(other.healthcheck?.disable !== true, `${on} has no health check`)
    }
  }
})

test('compose: Prometheus asks the stages that have an ops port, at that port; nothing is open beyond this machine', () => {
  const { scrape_configs } = parse(readFileSync('infra/prometheus/prometheus.yml', 'utf8')) as {
    scrape_configs: {
      static_configs: { targets: string[] }[]
      dns_sd_configs: { names: string[]; type: string; port: number }[]
    }[]
  }
  const [{ static_configs, dns_sd_configs }] = scrape_configs as [(typeof scrape_configs)[number]]
  // A stage that is optional is found by its name, so that it is no failure where it was not started.
  const found = dns_sd_configs.flatMap(({ names, port }) => names.map((name) => `${name}:${port}`))
  const targets = [...static_configs[0]!.targets, ...found]
  const stages = ['ingest', 'sequence', 'train', 'publish', 'serve']
  const watched = services.filter(([, { command }]) => command?.some((word) => stages.includes(word)))
  for (const [name, { healthcheck, profiles }] of watched) {
    assert(healthcheck?.disable !== true, `${name} has no health check`)
    assert.equal(found.includes(`${name}:9464`), profiles !== undefined, name)
  }
  assert.deepEqual(
    [...targets].sort(),
    watched.map(([name, { environment }]) => `${name}:${environment?.MTMI_OPS_PORT}`).sort()
  )
  for (const [name, { ports }] of services) for (const port of ports ?? []) assert.match(port, /^127\.0\.0\.1:/, name)
})

test('compose: tokens reach the service as files, each of them a secret that there is', () => {
  const over = parse(readFileSync('infra/compose.tokens.yaml', 'utf8')) as {
    services: { serve: { environment: Record<string, string>; secrets: string[] } }
    secrets: Record<string, unknown>
  }
  const { environment, secrets } = over.services.serve
  checkVariables('compose.tokens.yaml', environment)
  assert.deepEqual(secrets, Object.keys(over.secrets))
  const files = Object.entries(environment).filter(([name]) => name.endsWith('_FILE'))
  assert.deepEqual(
    files.map(([, file]) => file),
    secrets.map((name) => `/run/secrets/${name}`)
  )
  const serve = { ...compose.services.serve!.environment, ...environment }
  assert.equal(serve.MTMI_SERVE_HOSTS, 'serve', 'never any name')
})

test('compose: with Qdrant, publish and serve find it, under settings that exist', () => {
  const over = parse(readFileSync('infra/compose.qdrant.yaml', 'utf8'), { merge: true }) as typeof compose
  assert.deepEqual(Object.keys(over.services), ['qdrant', 'publish', 'serve'])
  const { qdrant, publish, serve } = over.services
  assert.match(qdrant!.image, /^qdrant\/qdrant:v\d+\.\d+\.\d+$/)
  assert.deepEqual(
    qdrant!.volumes!.map((volume) => volume.split(':')[0]),
    Object.keys(over.volumes)
  )
  for (const port of qdrant!.ports!) assert.match(port, /^127\.0\.0\.1:/)
  for (const { environment, depends_on } of [publish!, serve!]) {
    checkVariables('compose.qdrant.yaml', environment!)
    assert.equal(environment!.MTMI_INDEX, 'qdrant')
    assert.equal(new URL(environment!.MTMI_QDRANT_URL!).hostname, 'qdrant')
    assert.deepEqual(Object.keys(depends_on!), ['qdrant'])
  }
})

test('compose: only publish and serve share a folder, and then the numbers of their processes', () => {
  const users = new Map<string, string[]>()
  for (const [name, { volumes, restart }] of services)
    for (const volume of volumes ?? [])
      if (volume.endsWith(':/data') && restart !== 'no') users.set(volume, [...(users.get(volume) ?? []), name])
  const shared = [...users.values()].filter((names) => names.length > 1)
  assert.deepEqual(shared, [['publish', 'serve']])
  assert.equal(compose.services.serve!.pid, 'service:publish')
})

// The manifests
// -----------------------------------------------------------------------------------------------------------

interface Container {
  readonly name: string
  readonly image: string
  readonly args: readonly string[]
  readonly env?: readonly { readonly name: string; readonly value: string }[]
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[]
  readonly resources: { readonly requests: Record<string, string>; readonly limits: Record<string, string> }
  readonly securityContext: { readonly readOnlyRootFilesystem: boolean; readonly allowPrivilegeEscalation: boolean }
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[]
  readonly [probe: `${string}Probe`]: { readonly httpGet: { readonly path: string; readonly port: string } } | undefined
}
interface Manifest {
  readonly kind: string
  readonly metadata: { readonly name: string; readonly labels?: Record<string, string> }
  readonly data?: Record<string, string>
  readonly spec: {
    readonly replicas?: number
    readonly jobLabel?: string
    readonly endpoints?: readonly { readonly port: string }[]
    readonly selector?: Record<string, unknown>
    readonly ports?: readonly { readonly name: string; readonly targetPort: string }[]
    readonly ingress?: readonly { readonly ports?: readonly { readonly port: number }[] }[]
    readonly template?: {
      readonly metadata: { readonly labels: Record<string, string> }
      readonly spec: {
        readonly containers: readonly Container[]
        readonly initContainers?: readonly Container[]
        readonly shareProcessNamespace?: boolean
        readonly securityContext: { readonly runAsNonRoot: boolean }
        readonly volumes: readonly { readonly name: string }[]
      }
    }
    readonly volumeClaimTemplates?: readonly { readonly metadata: { readonly name: string } }[]
  }
}

const kubectl = spawnSync('kubectl', ['version', '--client'], { stdio: 'ignore' }).status === 0
const skip = kubectl ? false : 'no kubectl: whether kustomize builds the manifests is not checked here'
function build(folder: string): Manifest[] {
  const { status, stdout, stderr } = spawnSync('kubectl', ['kustomize', folder], { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  return parseAllDocuments(stdout).map((document) => document.toJS() as Manifest)
}

test('the PrometheusRule is what the rule files say: node infra/k8s/writePrometheusRule.mjs', () => {
  assert.equal(readFileSync('infra/k8s/base/prometheus-rule.yaml', 'utf8'), prometheusRule())
})

const stagesOf: Readonly<Record<string, readonly string[]>> = {
  'infra/k8s/base': ['mtmi-prepare', 'mtmi-sequence', 'mtmi-serving', 'mtmi-train'],
  'infra/k8s/overlays/ingest': ['mtmi-ingest', 'mtmi-prepare', 'mtmi-sequence', 'mtmi-serving', 'mtmi-train'],
  'infra/k8s/overlays/tls': ['mtmi-prepare', 'mtmi-sequence', 'mtmi-serving', 'mtmi-train'],
  'infra/k8s/overlays/qdrant': ['mtmi-prepare', 'mtmi-sequence', 'mtmi-serving', 'mtmi-train'],
  'infra/k8s/overlays/qdrant-here': ['mtmi-prepare', 'mtmi-publish', 'mtmi-sequence', 'mtmi-serving', 'mtmi-train']
}
/** Servers of others have images, settings and probes of their own. */
const isOurs = ({ spec }: Manifest) =>
  spec.template!.spec.containers.every(({ image }) => image.startsWith('mtmi-stream:'))

for (const [folder, stages] of Object.entries(stagesOf)) {
  test(`${folder}: settings exist, probes and services name ports that are there, nothing runs as root`, {
    skip
  }, () => {
    const manifests = build(folder)
    const config = manifests.find(({ kind }) => kind === 'ConfigMap')!
    checkVariables(folder, config.data!)
    const workloads = manifests.filter(({ spec }) => spec?.template !== undefined)
    const ours = workloads.filter(isOurs)
    assert.deepEqual(ours.map(({ metadata }) => metadata.name).sort(), stages)
    for (const { metadata, spec } of workloads)
      assert.equal(spec.template!.spec.securityContext.runAsNonRoot, true, metadata.name)
    for (const { kind, metadata, spec } of ours) {
      const pod = spec.template!.spec
      const volumes = new Set(
        [...pod.volumes, ...(spec.volumeClaimTemplates ?? []).map((claim) => claim.metadata)].map(({ name }) => name)
      )
      const opsPorts = new Set<number>()
      for (const container of [...(pod.initContainers ?? []), ...pod.containers]) {
        const at = `${metadata.name}/${container.name}`
        assert.match(container.image, /^mtmi-stream:\d+\.\d+\.\d+$/, at)
        assert(
          container.args.some((word) => verbs.has(word)),
          `${at}: ${container.args.join(' ')}`
        )
        const own = Object.fromEntries((container.env ?? []).map(({ name, value }) => [name, value]))
        checkVariables(at, { ...config.data, ...own })
        assert(
          container.securityContext.readOnlyRootFilesystem && !container.securityContext.allowPrivilegeEscalation,
          at
        )
        assert(container.resources.requests.cpu && container.resources.limits.memory, `${at} has no resources`)
        for (const { name } of container.volumeMounts) assert(volumes.has(name), `${at}: there is no volume ${name}`)
        assert(
          container.volumeMounts.some(({ mountPath }) => mountPath === '/data'),
          `${at} has nowhere to write`
        )
        for (const path of Object.values({ ...config.data, ...own }).filter((value) => value.startsWith('/etc/')))
          assert(
            container.volumeMounts.some(({ mountPath }) => path.startsWith(`${mountPath}/`)),
            `${at}: ${path} is not mounted`
          )
        if (kind !== 'StatefulSet') continue
        const ports = new Map(container.ports!.map(({ name, containerPort }) => [name, containerPort]))
        for (const [probe, path] of [
          ['startupProbe', '/livez'],
          ['livenessProbe', '/livez'],
          ['readinessProbe', '/readyz']
        ] as const) {
          const { httpGet } = container[probe]!
          assert.equal(httpGet.path, path)
          assert.equal(ports.get(httpGet.port), Number(own.MTMI_OPS_PORT), `${at}: ${probe}`)
        }
        assert(!opsPorts.has(Number(own.MTMI_OPS_PORT)), `${at}: its port is taken in the pod`)
        opsPorts.add(Number(own.MTMI_OPS_PORT))
        if (own.MTMI_SERVE_PORT !== undefined) assert.equal(ports.get('http'), Number(own.MTMI_SERVE_PORT))
      }
      // Two processes on one index must not have the same number.
      assert.equal(pod.shareProcessNamespace ?? false, pod.containers.length > 1)
    }
    const named = (name: string) => workloads.find(({ metadata }) => metadata.name === name)!
    assert.equal(named('mtmi-train').spec.replicas, 1)
    assert(named('mtmi-sequence').spec.replicas! <= Number(config.data!.MTMI_TOPICS_PARTITIONS))

    const portsOf = (selector: Record<string, unknown>) =>
      workloads
        .filter(({ spec }) =>
          Object.entries(selector).every(([label, value]) => spec.template!.metadata.labels[label] === value)
        )
        .flatMap(({ spec }) => spec.template!.spec.containers.flatMap(({ ports }) => ports ?? []))
    const watched = new Set<string>()
    for (const { metadata, spec } of manifests.filter(({ kind }) => kind === 'Service')) {
      const there = portsOf(spec.selector!)
      for (const { targetPort } of spec.ports!)
        assert(
          there.some(({ name }) => name === targetPort),
          `service ${metadata.name}: ${targetPort}`
        )
      if (metadata.labels?.['mtmi/watched'] !== 'true') continue
      assert.equal(metadata.labels['app.kubernetes.io/part-of'], 'mtmi', 'the job would not be mtmi')
      for (const { name } of spec.ports!) watched.add(name)
    }
    const monitor = manifests.find(({ kind }) => kind === 'ServiceMonitor')!
    assert.equal(monitor.spec.jobLabel, 'app.kubernetes.io/part-of')
    assert.deepEqual(monitor.spec.endpoints!.map(({ port }) => port).sort(), [...watched].sort())
    const open = new Set(
      manifests
        .filter(({ kind }) => kind === 'NetworkPolicy')
        .flatMap(({ spec }) => (spec.ingress ?? []).flatMap(({ ports }) => ports!.map(({ port }) => port)))
    )
    for (const { containerPort } of workloads.flatMap(({ spec }) =>
      spec.template!.spec.containers.flatMap(({ ports }) => ports ?? [])
    ))
      assert(open.has(containerPort), `no policy lets anybody reach port ${containerPort}`)
    for (const { metadata, spec } of manifests.filter(({ kind }) => kind === 'PodDisruptionBudget')) {
      const { matchLabels } = spec.selector as { matchLabels: Record<string, string> }
      assert(portsOf(matchLabels).length > 0, `${metadata.name} protects nothing`)
    }
  })
}

test('every object that Kubernetes itself knows matches its schema, of the oldest and the newest version we mean', {
  skip
}, (t) => {
  const validator = ensureValidator()
  if ('missing' in validator) {
    t.skip(`no kubernetes-validate: ${validator.missing}`)
    return
  }
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-manifests-'))
  const check = (manifests: readonly Manifest[], version: string) => {
    const file = path.join(folder, 'manifests.yaml')
    writeFileSync(file, manifests.map((manifest) => stringify(manifest)).join('---\n'))
    return spawnSync(validator.command, ['--strict', '--quiet', '-k', version, file], { encoding: 'utf8' })
  }
  try {
    // Those of the Prometheus operator are not Kubernetes' own: promtool has read the rules, and a test above the
    // ServiceMonitor.
    const own = Object.keys(stagesOf)
      .flatMap(build)
      .filter(({ kind }) => !['ServiceMonitor', 'PrometheusRule'].includes(kind))
    for (const version of ['1.28', '1.33']) {
      const { status, stdout, stderr } = check(own, version)
      assert.equal(status, 0, stdout + stderr)
    }
    const right = own.find(({ kind }) => kind === 'StatefulSet')!
    const wrong = { ...right, spec: { ...right.spec, replica: 3 } } as Manifest
    assert.notEqual(check([wrong], '1.33').status, 0, 'a field that does not exist is noticed')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
