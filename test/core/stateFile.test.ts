import assert from 'node:assert/strict'
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { z } from 'zod'
import { diskFault } from '../../src/core/diskFault.ts'
import { ConfigError, CorruptError, MtmiError, UnavailableError } from '../../src/core/errors.ts'
import { type Disk, writeFileAtomically } from '../../src/core/files.ts'
import { openStateFile, type StateKind } from '../../src/core/stateFile.ts'

interface Thing {
  readonly name: string
  readonly count: number | null
}

const thing: StateKind<Thing> = {
  file: 'thing.json',
  version: 3,
  schema: z.strictObject({ name: z.string(), count: z.number().nullable() }),
  removed: 'things are counted again'
}

function inFolder(body: (folder: string) => void): void {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mtmi-state-'))
  try {
    body(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

test('what was saved is loaded, whatever its texts and numbers; what was never saved is undefined', () => {
  inFolder((folder) => {
    const file = openStateFile(path.join(folder, 'made/by/saving/thing.json'), thing)
    assert.equal(file.load(), undefined)
    for (const state of [
      { name: '', count: 0 },
      { name: '\ud800 \u2028 "€😀', count: 1e300 },
      { name: 'x', count: -0 }
    ]) {
      file.save(state)
      assert.deepEqual(file.load(), JSON.parse(JSON.stringify(state)))
    }
    // JSON has no such number.
    file.save({ name: 'n', count: Number.NaN })
    assert.deepEqual(file.load(), { name: 'n', count: null })
    assert.deepEqual(readdirSync(path.join(folder, 'made/by/saving')), ['thing.json'])
  })
})

test('a damaged file is refused with its name and what happens if it is removed, and is left as it is', () => {
  inFolder((folder) => {
    const name = path.join(folder, 'thing.json')
    const file = openStateFile(name, thing)
    file.save({ name: 'a user', count: 7 })
    const good = readFileSync(name)
    const other = (kind: StateKind<unknown>, state: unknown) => {
      openStateFile(name, kind).save(state)
      return readFileSync(name)
    }
    const cases: [string, Uint8Array | string, RegExp][] = [
      ['empty', '', /is empty/],
      ...Array.from({ length: good.length - 2 }, (_, n): [string, Uint8Array, RegExp] => [
        `cut to ${n + 1} bytes`,
        good.subarray(0, n + 1),
        /is damaged/
      ]),
      ...Array.from({ length: good.length - 1 }, (_, n): [string, Uint8Array, RegExp] => {
        const flipped = Buffer.from(good)
        flipped[n]! ^= 1
        return [`bit of byte ${n} flipped`, flipped, /is damaged|is of version 2/]
      }),
      ['binary', Buffer.from([0, 255, 254, 1, 2]), /is not JSON/],
      ['zeroes', Buffer.alloc(good.length), /is not JSON/],
      ...['null', '[]', '7', '"text"', '{}', '{"name":"a user","count":7}'].map((text): [string, string, RegExp] => [
        text,
        text,
        /is no thing\.json/
      ]),
      ['another kind', other({ ...thing, file: 'other.json' }, { name: 'x', count: 1 }), /is no thing\.json/],
      [
        'an older version',
        other({ ...thing, version: 2 }, { name: 'x', count: 1 }),
        /is of version 2; this program reads version 3/
      ],
      ['another type', other({ ...thing, schema: z.unknown() }, { name: 'x', count: '1' }), /is damaged: count: /],
      ['a field missing', other({ ...thing, schema: z.unknown() }, { count: 1 }), /is damaged: name: /],
      ['twice', Buffer.concat([good, good]), /is not JSON/]
    ]
    for (const [what, content, words] of cases) {
      writeFileSync(name, content)
      assert.throws(
        () => file.load(),
        (error: Error) => {
          assert(error instanceof CorruptError, `${what}: ${error.stack}`)
          assert.match(error.message, words, what)
          assert(error.message.startsWith(name), error.message)
          assert(error.message.endsWith('or remove it: if it is removed, things are counted again'), error.message)
          return true
        },
        what
      )
      assert.deepEqual(readFileSync(name), Buffer.from(content), what)
    }
    rmSync(name)
    assert.equal(file.load(), undefined)
  })
})

/** A disk whose `n`-th call fails. */
function failing(at: number, error: Error): { disk: Disk; calls: () => number } {
  let calls = 0
  const real: Disk = {
    open: openSync,
    write: (descriptor, content) => writeFileSync(descriptor, content),
    sync: fsyncSync,
    close: closeSync,
    rename: renameSync
  }
  const disk = Object.fromEntries(
    Object.entries(real).map(([name, call]) => [
      name,
      (...args: never[]) => {
        const fails = calls++ === at
        // A descriptor that fails to be closed is closed all the same.
        const result = fails && name !== 'close' ? undefined : (call as (...args: never[]) => unknown)(...args)
        if (fails) throw error
        return result
      }
    ])
  ) as unknown as Disk
  return { disk, calls: () => calls }
}

test('whichever call of a save fails, the file holds what it held or what was saved, nothing else is left, and the error says where and what to do', () => {
  inFolder((folder) => {
    const name = path.join(folder, 'thing.json')
    const before = { name: 'before', count: 1 }
    const after = { name: 'after', count: 2 }
    openStateFile(name, thing).save(before)
    const { disk, calls } = failing(-1, new Error())
    openStateFile(name, thing, disk).save(before)
    assert.equal(calls(), 8)
    for (const [code, kind, words] of [
      [
        'ENOSPC',
        UnavailableError,
        new RegExp(`^no room on ${folder}: the disk is full .*Make room there and start again`)
      ],
      ['EDQUOT', UnavailableError, new RegExp(`^no room on ${folder}: the quota is used up`)],
      [
        'EROFS',
        ConfigError,
        new RegExp(`^${folder} cannot be used: .*read-only: mount it for writing, or choose another --data-dir`)
      ],
      ['EACCES', ConfigError, new RegExp(`^${folder} cannot be used: .*correct its permissions`)],
      ['EIO', CorruptError, new RegExp(`^the disk under ${folder} does not read or write as it should`)]
    ] as const) {
      for (let at = 0; at < calls(); at++) {
        const error = Object.assign(new Error(`${code}: something, write`), { code })
        assert.throws(
          () => openStateFile(name, thing, failing(at, error).disk).save(after),
          (thrown: Error) => thrown instanceof kind && words.test(thrown.message),
          `${code} at call ${at}`
        )
        const held = openStateFile(name, thing).load()
        // From the rename on, the new content is there.
        assert.deepEqual(held, at < 5 ? before : after, `${code} at call ${at}`)
        openStateFile(name, thing).save(before)
        assert.deepEqual(readdirSync(folder), ['thing.json'])
      }
    }
  })
})

test('a fault of the disk is found in what caused an error, by name and by number, as LMDB gives it', () => {
  const full = Object.assign(new Error('No space left on device'), { code: 28 })
  const commit = new Error('commit failed', { cause: full })
  for (const error of [full, commit, new UnavailableError('checkpoint x cannot be written', { cause: commit })]) {
    const fault = diskFault(error, '/data/run')
    assert(fault instanceof UnavailableError)
    assert.match(fault.message, /^no room on \/data\/run: the disk is full/)
    assert.equal(diskFault(fault, '/elsewhere'), fault, 'said once')
  }
  assert.match(
    diskFault(Object.assign(new Error('MDB_MAP_FULL'), { code: -30792 }), '/d')?.message ?? '',
    /the memory map cannot grow/
  )
  const named = Object.assign(new Error('ENOSPC: no space left on device, open'), {
    code: 'ENOSPC',
    path: '/data/run/checkpoints/c.tmp'
  })
  assert.match(diskFault(named, '/elsewhere')?.message ?? '', /^no room on \/data\/run\/checkpoints: /)
  for (const error of [
    new TypeError('x'),
    new MtmiError('CONFIG', 'y'),
    undefined,
    null,
    'text',
    Object.assign(new Error(), { code: 'ECONNRESET' })
  ])
    assert.equal(diskFault(error, '/d'), undefined)
  const circular = new Error('a') as Error & { cause?: unknown }
  circular.cause = circular
  assert.equal(diskFault(circular, '/d'), undefined)
})

test('a file that is no state file is written by the same calls', () => {
  inFolder((folder) => {
    writeFileAtomically(path.join(folder, 'report.html'), 'page')
    assert.equal(readFileSync(path.join(folder, 'report.html'), 'utf8'), 'page')
    assert(!existsSync(path.join(folder, `report.html.${process.pid}.tmp`)))
  })
})
