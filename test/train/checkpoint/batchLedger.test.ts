import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test from 'node:test'
import fc from 'fast-check'
import type { BatchLedger, LedgerEntry } from '../../../src/train/checkpoint/batchLedger.ts'
import { BatchLedgerFile } from '../../../src/train/checkpoint/batchLedger.ts'
import { BatchLedgerMemory } from '../../support/batchLedgerMemory.ts'

const entryOf = (step: number): LedgerEntry => ({
  step,
  ranges: new Map([
    [0, { from: BigInt(step) * 10n, to: BigInt(step) * 10n + 7n }],
    [3, { from: 9007199254740993n, to: 9223372036854775807n }]
  ]),
  examples: 2 * step,
  catalogue: 9007199254740993n + BigInt(step)
})

function withFile(body: (file: string) => void): void {
  const directory = mkdtempSync(path.join(tmpdir(), 'mtmi-ledger-'))
  try {
    body(path.join(directory, 'sub', 'ledger'))
  } finally {
    rmSync(directory, { recursive: true })
  }
}

function withLedger(file: string, body: (ledger: BatchLedgerFile) => void): void {
  const ledger = new BatchLedgerFile({ file })
  try {
    body(ledger)
  } finally {
    ledger.close()
  }
}

const steps = (ledger: BatchLedger, after = -1) => ledger.after(after).map((entry) => entry.step)

function appendThree(ledger: BatchLedger): void {
  for (const step of [1, 2, 3]) ledger.append(entryOf(step))
}

function behaves(ledger: BatchLedger): void {
  assert.deepEqual(ledger.after(-1), [])
  for (const step of [3, 4, 5, 7]) ledger.append(entryOf(step))
  assert.deepEqual(ledger.after(3), [4, 5, 7].map(entryOf))
  assert.throws(() => ledger.append(entryOf(7)), /step 7 after step 7/)
  assert.throws(() => ledger.append({ ...entryOf(8), step: 8.5 }), /not a whole number/)
  ledger.truncateBefore(5)
  assert.deepEqual(steps(ledger), [5, 7])
  ledger.append(entryOf(8))
  assert.deepEqual(ledger.after(4), [5, 7, 8].map(entryOf))
  ledger.truncateBefore(9)
  assert.deepEqual(steps(ledger), [])
  ledger.append(entryOf(9))
  assert.deepEqual(ledger.after(0), [entryOf(9)])
}

test('memory: entries come back, are cut before a step, and ascend', () => behaves(new BatchLedgerMemory()))

test('file: entries come back, are cut before a step, and ascend', () => withFile((file) => withLedger(file, behaves)))

test('entries outlive the object, without close', () =>
  withFile((file) => {
    const first = new BatchLedgerFile({ file })
    for (const step of [1, 2, 3]) first.append(entryOf(step))
    withLedger(file, (again) => assert.deepEqual(again.after(0), [1, 2, 3].map(entryOf)))
    first.truncateBefore(3)
    first.append(entryOf(4))
    first.close()
    withLedger(file, (again) => assert.deepEqual(again.after(0), [3, 4].map(entryOf)))
  }))

test('cut off anywhere, what was whole is there and the next entry follows it', () =>
  withFile((file) => {
    withLedger(file, appendThree)
    const whole = readFileSync(file)
    fc.assert(
      fc.property(fc.nat(whole.length), (length) => {
        writeFileSync(file, whole.subarray(0, length))
        const expected = whole.subarray(0, length).filter((byte) => byte === 0x0a).length
        withLedger(file, (ledger) => {
          assert.deepEqual(steps(ledger), [1, 2, 3].slice(0, expected))
          ledger.append(entryOf(9))
        })
        withLedger(file, (ledger) => assert.deepEqual(steps(ledger), [...[1, 2, 3].slice(0, expected), 9]))
      }),
      { numRuns: 60, seed: 1 }
    )
  }))

test('a damaged entry with others after it stops, and the file stays as it is', () =>
  withFile((file) => {
    withLedger(file, appendThree)
    const whole = readFileSync(file)
    const last = whole.subarray(0, -1).lastIndexOf(0x0a) + 1
    fc.assert(
      fc.property(fc.nat(last - 2), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const bytes = Buffer.from(whole)
        bytes[at]! ^= flip
        writeFileSync(file, bytes)
        assert.throws(() => new BatchLedgerFile({ file }), { code: 'CORRUPT' })
        assert.deepEqual(readFileSync(file), bytes)
      }),
      { numRuns: 60, seed: 1 }
    )
  }))

test('a last entry full of zeros, as a power cut leaves it, is dropped', () =>
  withFile((file) => {
    withLedger(file, (ledger) => ledger.append(entryOf(1)))
    appendFileSync(file, Buffer.alloc(50))
    withLedger(file, (ledger) => {
      assert.deepEqual(steps(ledger), [1])
      ledger.append(entryOf(2))
    })
    withLedger(file, (ledger) => assert.deepEqual(steps(ledger), [1, 2]))
    truncateSync(file)
    withLedger(file, (ledger) => assert.deepEqual(steps(ledger), []))
  }))

test('a file that cannot be opened is UNAVAILABLE', () =>
  withFile((file) => {
    withLedger(file, () =>
      assert.throws(() => new BatchLedgerFile({ file: path.join(file, 'below') }), { code: 'UNAVAILABLE' })
    )
  }))
