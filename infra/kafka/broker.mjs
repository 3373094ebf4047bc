#!/usr/bin/env node
// A real Kafka broker on loopback for as long as a command runs.
//
//     node infra/kafka/broker.mjs [--keep] -- npm run something     KAFKA_BROKERS names the broker, KAFKA_BROKER_PID its process
//
// The jars come from Maven Central, once, into MTMI_CACHE (default $XDG_CACHE_HOME/mtmi-stream or
// ~/.cache/mtmi-stream). KAFKA_VERSION chooses another version than 4.3.1. Where Java 17 or Maven is missing, root on
// Debian gets them by apt-get; on other systems it reports what to install.
import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const here = path.dirname(fileURLToPath(import.meta.url))
const say = (text) => process.stderr.write(`kafka: ${text}\n`)
/** Exit status where there is no Java: the caller may take that for a reason to skip. */
export const noJavaStatus = 69
/** Of a broker that starts in 1.5 s, on a machine that is busy. */
const startMsMax = 120_000

/**
 * A group does not wait for more members at first; every broker has every internal replica; a topic is made on purpose.
 *
 * @param {readonly number[]} controllerPorts of all brokers of the cluster, in the order of their ids
 */
function properties({ id = 1, dataDir, port, controllerPorts }, more = {}) {
  const controllerPort = controllerPorts[id - 1]
  const count = controllerPorts.length
  return Object.entries({
    'process.roles': 'broker,controller',
    'node.id': id,
    'controller.quorum.voters': controllerPorts.map((each, i) => `${i + 1}@127.0.0.1:${each}`).join(','),
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'log.dirs': dataDir,
    'auto.create.topics.enable': false,
    'offsets.topic.replication.factor': count,
    'offsets.topic.num.partitions': 4,
    'transaction.state.log.replication.factor': count,
    'transaction.state.log.min.isr': Math.min(2, count),
    'default.replication.factor': count,
    'min.insync.replicas': Math.min(2, count),
    'transaction.state.log.num.partitions': 4,
    'group.initial.rebalance.delay.ms': 0,
    'group.min.session.timeout.ms': 1000,
    'log.segment.bytes': 64 * 1024 * 1024,
    ...more
  })
    .map(([key, value]) => `${key}=${value}\n`)
    .join('')
}

/** Of the second listener of a broker that was started with `secure`. */
export const secureUser = { username: 'alice', password: 'alice-secret' }

/**
 * A second listener on TLS, for which every SASL mechanism that we know is switched on; its certificate is its own
 * authority.
 */
function secureProperties(port, controllerPort, securePort, keystore) {
  const module = (name, more = '') => `org.apache.kafka.common.security.${name} required${more};`
  const jaas = (mechanism) => `listener.name.secure.${mechanism}.sasl.jaas.config`
  const { username, password } = secureUser
  return {
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort},SECURE://127.0.0.1:${securePort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port},SECURE://127.0.0.1:${securePort}`,
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL',
    'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER',
    [jaas('plain')]: module(
      'plain.PlainLoginModule',
      ` username="broker" password="broker" user_${username}="${password}"`
    ),
    [jaas('scram-sha-256')]: module('scram.ScramLoginModule'),
    [jaas('scram-sha-512')]: module('scram.ScramLoginModule'),
    [jaas('oauthbearer')]: module('oauthbearer.OAuthBearerLoginModule', ' unsecuredLoginStringClaim_sub="broker"'),
    'ssl.keystore.type': 'PKCS12',
    'ssl.keystore.location': keystore,
    'ssl.keystore.password': keystorePassword
  }
}

const defaultVersion = () => process.env.KAFKA_VERSION || '4.3.1'
const newClusterId = () => randomBytes(16).toString('base64url').replace(/^-/, 'A')

const keystorePassword = 'of-a-test'

/** Clients of the plain listener are anonymous, and may do everything. */
const authorizing = {
  'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
  'super.users': 'User:ANONYMOUS'
}

function keytool(...words) {
  const done = spawnSync('keytool', words, { encoding: 'utf8' })
  if (done.status !== 0) throw new Error(`keytool failed:\n${done.stdout}${done.stderr}`)
}

/** C1 alone and the serial collector: what starts fastest and leaves the cores to the tests. */
function jvmArguments(libs, extra) {
  return [...extra, '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', path.join(libs, '*')]
}

export class Broker {
  #process
  #directory
  #libs
  #archive
  #port
  #securePort
  #isMounted = false

  /**
   * @param {string} version of Apache Kafka
   * @param {{ secure?: boolean, authorize?: boolean, diskMiB?: number }} options `authorize`: clients of the secure
   *   listener may do what was granted, and no more; `diskMiB`: the data is on a file system of this size (root only)
   */
  static async start(version = defaultVersion(), { secure = false, authorize = false, diskMiB } = {}) {
    const broker = await Broker.#prepare(version)
    if (diskMiB !== undefined) broker.#mount(`size=${diskMiB}m`)
    const controllerPort = await freePort()
    let more = {}
    const scram = []
    if (secure) {
      const store = [
        '-storetype',
        'PKCS12',
        '-keystore',
        broker.#file('keys.p12'),
        '-storepass',
        keystorePassword,
        '-alias',
        'broker'
      ]
      keytool(
        '-genkeypair',
        ...store,
        '-keyalg',
        'RSA',
        '-dname',
        'CN=127.0.0.1',
        '-ext',
        'SAN=IP:127.0.0.1',
        '-validity',
        '2'
      )
      keytool('-exportcert', '-rfc', ...store, '-file', broker.#file('ca.pem'))
      broker.#securePort = await freePort()
      more = secureProperties(broker.#port, controllerPort, broker.#securePort, broker.#file('keys.p12'))
      if (authorize) Object.assign(more, authorizing)
      const { username, password } = secureUser
      for (const mechanism of ['SCRAM-SHA-256', 'SCRAM-SHA-512'])
        scram.push('--add-scram', `${mechanism}=[name=${username},password=${password}]`)
    }
    broker.#format(newClusterId(), { controllerPorts: [controllerPort] }, more, scram)
    await broker.run()
    return broker
  }

  /**
   * Brokers of one cluster, each a controller as well: topics have a replica on each, and two must be in sync for a
   * write (one, where there are two brokers or one).
   */
  static async startCluster(count, version = defaultVersion()) {
    const brokers = []
    for (let i = 0; i < count; i++) brokers.push(await Broker.#prepare(version))
    const controllerPorts = []
    for (let i = 0; i < count; i++) controllerPorts.push(await freePort())
    const clusterId = newClusterId()
    for (const [i, broker] of brokers.entries()) broker.#format(clusterId, { id: i + 1, controllerPorts })
    await Promise.all(brokers.map((broker) => broker.run()))
    return brokers
  }

  static async #prepare(version) {
    const broker = new Broker()
    const cache = path.join(
      process.env.MTMI_CACHE ||
        path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'mtmi-stream'),
      `kafka-${version}`
    )
    broker.#libs = jars(cache, version)
    broker.#archive = path.join(cache, 'classes.jsa')
    broker.#directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mtmi-kafka-'))
    broker.#port = await freePort()
    return broker
  }

  #format(clusterId, place, more = {}, scram = []) {
    const file = this.#file('server.properties')
    fs.writeFileSync(file, properties({ ...place, dataDir: this.#file('data'), port: this.#port }, more))
    const format = ['kafka.tools.StorageTool', 'format', '-t', clusterId, '-c', file, ...scram]
    const formatted = spawnSync('java', [...jvmArguments(this.#libs, ['-Xmx128m']), ...format], { encoding: 'utf8' })
    if (formatted.status !== 0)
      throw new Error(`formatting the broker's storage failed:\n${formatted.stdout}${formatted.stderr}`)
  }

  get address() {
    return `127.0.0.1:${this.#port}`
  }

  /** TLS and SASL, where it was started so. */
  get secureAddress() {
    return `127.0.0.1:${this.#securePort}`
  }

  /** PEM: what vouches for the secure listener. */
  get caFile() {
    return this.#file('ca.pem')
  }

  get pid() {
    return this.#process.pid
  }

  /** Makes room on the file system of a broker that was started with `diskMiB`. */
  resizeDisk(diskMiB) {
    this.#mount(`remount,size=${diskMiB}m`)
  }

  #mount(options) {
    fs.mkdirSync(this.#file('data'), { recursive: true })
    const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', this.#file('data')])
    if (status !== 0) throw new Error(`mounting ${this.#file('data')} failed: ${stderr}`)
    this.#isMounted = true
  }

  /** Whether the process is there. */
  get isRunning() {
    return this.#process.exitCode === null && this.#process.signalCode === null
  }

  /** Starts the process on the data that there is; resolves when its port is open. */
  async run() {
    const firstTime = !fs.existsSync(this.#archive)
    const log = fs.openSync(this.#file('broker.log'), 'a')
    // The classes of the first run, kept in an archive, halve the start of every later one.
    const sharing = firstTime
      ? `-XX:ArchiveClassesAtExit=${this.#archive}.${this.#port}`
      : `-XX:SharedArchiveFile=${this.#archive}`
    const memory = process.env.KAFKA_HEAP || '-Xmx384m'
    this.#process = spawn(
      'java',
      [...jvmArguments(this.#libs, [memory, sharing]), 'kafka.Kafka', this.#file('server.properties')],
      {
        stdio: ['ignore', log, log],
        cwd: this.#directory
      }
    )
    fs.closeSync(log)
    if (firstTime)
      this.#process.once('exit', () => {
        if (fs.existsSync(`${this.#archive}.${this.#port}`))
          fs.renameSync(`${this.#archive}.${this.#port}`, this.#archive)
      })
    const startedMs = performance.now()
    while (!(await isOpen(this.#port))) {
      if (this.#process.exitCode !== null || performance.now() - startedMs > startMsMax)
        throw new Error(`the broker did not start:\n${fs.readFileSync(this.#file('broker.log'), 'utf8').slice(-4000)}`)
      await new Promise((resolve) => setTimeout(resolve, 25))
    }
  }

  /** @param {'SIGTERM' | 'SIGKILL'} signal the second is a crash: what was acknowledged must still be there */
  async stop(signal = 'SIGTERM') {
    if (!this.isRunning) return
    await new Promise((resolve) => {
      this.#process.once('exit', resolve)
      this.#process.kill(signal)
    })
  }

  remove() {
    if (this.#isMounted) spawnSync('umount', [this.#file('data')])
    fs.rmSync(this.#directory, { recursive: true, force: true })
  }

  #file(name) {
    return path.join(this.#directory, name)
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2))

// ---------------------------------------------------------------------------------------------------------------------

async function main(words) {
  const at = words.indexOf('--')
  const command = at < 0 ? [] : words.slice(at + 1)
  if (command.length === 0) {
    say('usage: node infra/kafka/broker.mjs -- <command>')
    process.exit(78)
  }
  if (process.env.KAFKA_BROKERS) {
    say(`using the brokers of KAFKA_BROKERS: ${process.env.KAFKA_BROKERS}`)
    process.exit(spawnSync(command[0], command.slice(1), { stdio: 'inherit' }).status ?? 1)
  }
  const missing = provideJava()
  if (missing !== undefined) {
    say(`SKIPPED: ${missing}`)
    process.exit(noJavaStatus)
  }
  const startedMs = performance.now()
  const broker = await Broker.start()
  say(`broker on ${broker.address} after ${Math.round(performance.now() - startedMs)} ms`)
  const child = spawn(command[0], command.slice(1), {
    stdio: 'inherit',
    env: { ...process.env, KAFKA_BROKERS: broker.address, KAFKA_BROKER_PID: String(broker.pid) }
  })
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  child.on('exit', async (status, signal) => {
    await broker.stop()
    broker.remove()
    process.exit(status ?? (signal === null ? 1 : 128 + os.constants.signals[signal]))
  })
}

/** @returns what is missing, and what to do; undefined: nothing */
export function provideJava() {
  const has = (command, words) => spawnSync(command, words, { stdio: 'ignore' }).status === 0
  const wanted = []
  if (!has('java', ['-version'])) wanted.push('openjdk-17-jre-headless')
  if (!has('mvn', ['--version'])) wanted.push('maven')
  if (wanted.length === 0) return undefined
  const advice = `a real broker needs Java 17 and Maven (Debian: apt-get install ${wanted.join(' ')}), or set KAFKA_BROKERS`
  if (process.getuid?.() !== 0 || !has('apt-get', ['--version'])) return advice
  say(`installing ${wanted.join(' ')} by apt-get`)
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const apt = (...words) => spawnSync('apt-get', words, { stdio: ['ignore', 2, 2], env: environment }).status === 0
  apt('update', '-q')
  return apt('install', '-q', '-y', '--no-install-recommends', ...wanted) ? undefined : `apt-get failed. ${advice}`
}

/** @returns the folder with the jars of that version */
function jars(cache, version) {
  const libs = path.join(cache, 'libs')
  if (fs.existsSync(libs)) return libs
  say(`fetching Apache Kafka ${version} from Maven Central (46 MB, once)`)
  fs.mkdirSync(cache, { recursive: true })
  const part = fs.mkdtempSync(path.join(cache, 'libs-'))
  const goal = 'org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies'
  const words = [
    '-q',
    '-B',
    '-f',
    path.join(here, 'pom.xml'),
    goal,
    `-Dkafka.version=${version}`,
    '-DincludeScope=runtime'
  ]
  const done = spawnSync('mvn', [...words, `-DoutputDirectory=${part}`], { stdio: ['ignore', 2, 2] })
  if (done.status !== 0)
    throw new Error(`Maven could not fetch Apache Kafka ${version} (its output is above): is Maven Central reachable?`)
  if (fs.existsSync(libs)) fs.rmSync(part, { recursive: true })
  else fs.renameSync(part, libs)
  return libs
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

function isOpen(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}
