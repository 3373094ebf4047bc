// Builds infra/Dockerfile without a container engine, and runs processes in the result's file system.
//
// The images that the Dockerfile begins FROM come from a registry that a machine may not reach. They are made here, under
// the same names, from Debian's packages and the npm package of the same version of Node. buildah is run as root with
// chroot isolation, and keeps all of its storage in one folder that is removed at the end.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const dockerfile = 'infra/Dockerfile'

/** What this machine lacks to build an image; undefined: nothing. */
export function missingTools(): string | undefined {
  if (process.getuid?.() !== 0) return 'the user is not root'
  const lacking = ['buildah', 'debootstrap', 'unshare'].filter((tool) => spawnSync('which', [tool]).status !== 0)
  return lacking.length === 0
    ? undefined
    : `${lacking.join(', ')} not installed (Debian: apt-get install buildah debootstrap)`
}

export interface ImageConfig {
  readonly Env: readonly string[]
  readonly Entrypoint: readonly string[]
  readonly User: string
  readonly WorkingDir: string
  readonly Healthcheck: { readonly Test: readonly string[] }
}

export interface RootOptions {
  /** Mounted as /data, writable. */
  readonly data: string
  /** Files that the process reads, by their path in the image. */
  readonly files?: Readonly<Record<string, string>>
  readonly env: Readonly<Record<string, string>>
}

export class BuiltImage {
  readonly #folder: string
  readonly #root: string
  readonly config: ImageConfig
  readonly bytes: number

  private constructor(folder: string, root: string, config: ImageConfig, bytes: number) {
    this.#folder = folder
    this.#root = root
    this.config = config
    this.bytes = bytes
  }

  /** @param folder for storage, some 6 GB while it builds */
  static build(folder: string): BuiltImage {
    const [buildBase, runBase] = [...readFileSync(dockerfile, 'utf8').matchAll(/^FROM (\S+)/gm)].map(
      ([, name]) => name!
    )
    makeBases(folder, buildBase!, runBase!)
    buildah(
      folder,
      'build',
      '--format',
      'docker',
      '--isolation',
      'chroot',
      '--layers=false',
      '-f',
      dockerfile,
      '-t',
      'mtmi-stream',
      '.'
    )
    return BuiltImage.open(folder)
  }

  /** What `build` left in the folder. */
  static open(folder: string): BuiltImage {
    const container = buildah(folder, 'from', '--pull-never', 'mtmi-stream').trim()
    const root = buildah(folder, 'mount', container).trim()
    const inspected = JSON.parse(buildah(folder, 'inspect', '--type', 'image', 'mtmi-stream')) as {
      Docker: { config: ImageConfig }
    }
    const bytes = Number(run('du', ['-sb', root]).split('\t')[0])
    return new BuiltImage(folder, root, inspected.Docker.config, bytes)
  }

  /** Bytes of each folder of the image, the largest first. */
  largest(): string {
    const sizes = run('du', ['-xm', '--max-depth=3', this.#root]).trim().split('\n')
    return sizes
      .map((line) => line.split('\t') as [string, string])
      .sort(([a], [b]) => Number(b) - Number(a))
      .slice(0, 12)
      .map(([megabytes, where]) => `${megabytes} MB /${path.relative(this.#root, where)}`)
      .join('\n')
  }

  /**
   * Runs a command as the image's user, with the image as a read-only root, a /tmp of its own, and the network of this
   * machine. The process is the child itself, so a signal reaches it.
   */
  spawn(command: readonly string[], { data, files = {}, env }: RootOptions): ChildProcess {
    const root = this.#root
    const [user] = this.config.User.split(':')
    run('chown', ['-R', `${user}:${user}`, data])
    const bind = ([inside, outside]: [string, string]) => [
      `mkdir -p '${path.dirname(root + inside)}' && : > '${root + inside}'`,
      `mount --bind '${outside}' '${root + inside}'`
    ]
    const script = [
      `mount --make-rprivate /`,
      `mount --bind '${root}' '${root}'`,
      `mount --bind '${data}' '${root}/data'`,
      `mount -t tmpfs tmpfs '${root}/tmp'`,
      `mount --rbind /dev '${root}/dev'`,
      `mount --rbind /proc '${root}/proc'`,
      `mount -t tmpfs tmpfs '${root}/run'`,
      ...Object.entries(files).flatMap(bind),
      `mount -o remount,bind,ro '${root}' '${root}'`,
      `exec chroot --userspec='${this.config.User}' '${root}' env --chdir='${this.config.WorkingDir}' "$@"`
    ].join(' && ')
    return spawn('unshare', ['--mount', 'sh', '-c', script, 'sh', ...command], {
      env: { ...Object.fromEntries(this.config.Env.map((line) => line.split(/=(.*)/s).slice(0, 2))), ...env },
      stdio: ['ignore', 'pipe', 'pipe']
    })
  }

  remove(): void {
    buildah(this.#folder, 'umount', '--all')
    buildah(this.#folder, 'rm', '--all')
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

function makeBases(folder: string, buildBase: string, runBase: string): void {
  const version = /^node:(\d+\.\d+\.\d+)-/.exec(buildBase)?.[1]
  if (version === undefined) throw new Error(`${dockerfile} begins FROM ${buildBase}: expected node:<version>-…`)
  const debian = path.join(folder, 'debian')
  mkdirSync(debian, { recursive: true })
  run('debootstrap', ['--variant=minbase', '--include=ca-certificates', 'bookworm', debian, debianMirror()])
  // As Debian's own slim image.
  for (const where of [
    'var/cache/apt/archives',
    'var/lib/apt/lists',
    'usr/share/doc',
    'usr/share/man',
    'usr/share/locale'
  ])
    rmSync(path.join(debian, where), { recursive: true, force: true })
  imageOf(folder, debian, runBase)
  const node = path.join(debian, 'usr/local')
  unpackPackage(`node-linux-${os.arch()}@${version}`, path.join(folder, 'node'))
  copyFileSync(path.join(folder, 'node/bin/node'), path.join(node, 'bin/node'))
  unpackPackage('npm@11', path.join(node, 'lib/node_modules/npm'))
  run('ln', ['-sf', '../lib/node_modules/npm/bin/npm-cli.js', path.join(node, 'bin/npm')])
  copyMachineSettings(debian)
  mkdirSync(path.join(debian, 'var/cache/apt/archives/partial'), { recursive: true })
  mkdirSync(path.join(debian, 'var/lib/apt/lists/partial'), { recursive: true })
  const container = imageOf(folder, debian, `${buildBase}-without-compiler`)
  const install = 'apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ python3 python3-pip'
  buildah(folder, 'run', '--isolation', 'chroot', container, 'sh', '-c', install)
  buildah(folder, 'commit', '-q', container, buildBase)
  buildah(folder, 'rm', container)
  rmSync(debian, { recursive: true, force: true })
}

/** @returns the container that the image was made from */
function imageOf(folder: string, root: string, name: string): string {
  const container = buildah(folder, 'from', 'scratch').trim()
  buildah(folder, 'add', '-q', container, root, '/')
  buildah(folder, 'commit', '-q', container, name)
  return container
}

/** How this machine reaches the registries of packages: certificates and settings, in the build stage only. */
function copyMachineSettings(root: string): void {
  for (const file of ['/etc/pip.conf', '/etc/npmrc', '/etc/ssl/certs/ca-certificates.crt']) {
    if (!existsSync(file)) continue
    mkdirSync(path.dirname(path.join(root, file)), { recursive: true })
    copyFileSync(file, path.join(root, file))
  }
  // The image is built by root, whatever the home of this test. npm has authorities of its own, and does not look at
  // the system's.
  const ownSettings = path.join(os.homedir(), '.npmrc')
  const own = existsSync(ownSettings) ? readFileSync(ownSettings, 'utf8') : ''
  writeFileSync(path.join(root, 'root/.npmrc'), `${own}\ncafile=/etc/ssl/certs/ca-certificates.crt\n`)
}

/** Where this machine's apt takes its packages from. */
function debianMirror(): string {
  const folder = '/etc/apt'
  const files = [path.join(folder, 'sources.list')].concat(
    existsSync(`${folder}/sources.list.d`)
      ? readdirSync(`${folder}/sources.list.d`).map((name) => path.join(folder, 'sources.list.d', name))
      : []
  )
  const text = files.map((file) => (existsSync(file) ? readFileSync(file, 'utf8') : '')).join('\n')
  const mirror = /^(?:URIs: +|deb +(?:\[.*?\] +)?)(https?:\S+\/debian\/?)(?:\s|$)/m.exec(text)?.[1]
  return mirror ?? 'http://deb.debian.org/debian'
}

function unpackPackage(name: string, target: string): void {
  mkdirSync(target, { recursive: true })
  const [{ filename }] = JSON.parse(run('npm', ['pack', name, '--json', '--pack-destination', target])) as [
    { filename: string }
  ]
  const archive = path.join(target, path.basename(filename.replace('@', '').replace('/', '-')))
  run('tar', ['xzf', archive, '-C', target, '--strip-components=1'])
  rmSync(archive)
}

function buildah(folder: string, ...args: readonly string[]): string {
  return run('buildah', [
    '--storage-driver',
    'vfs',
    '--root',
    `${folder}/storage`,
    '--runroot',
    `${folder}/run`,
    ...args
  ])
}

/** @throws Error with the end of what the command printed */
function run(command: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28 })
  if (status === 0) return stdout
  const said = `${stdout}\n${stderr}`.trim().split('\n').slice(-30).join('\n')
  throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? `status ${status}`}\n${said}`)
}
