// The engine: libtensorflow through tfjs-node, or WebAssembly where its native part is not available.
//
// All other code uses @tensorflow/tfjs-core alone and does not know which one is live. Only one thread of a process may
// load tfjs-node.
//
// Threads: libtensorflow takes one thread a core, unless TF_NUM_INTRAOP_THREADS and TF_NUM_INTEROP_THREADS are set in
// the environment BEFORE the process starts (it reads them once). Sums are split between threads, so a replay is
// bit-equal only with the same number of threads, and surely only with one.

import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import * as tf from '@tensorflow/tfjs-core'
import { UnavailableError } from '../core/errors.ts'
import { proveGraphs, withoutGraphs } from './nativeGraph.ts'

export type BackendName = 'tensorflow' | 'wasm'

export interface BackendReport {
  readonly backend: BackendName
  /** Version of tfjs-core. */
  readonly tfjs: string
  /**
   * Version of libtensorflow; undefined with WASM. Part of every measurement: the binaries differ in speed.
   */
  readonly tensorflow: string | undefined
  /** Cores that the engine may use for one operation. */
  readonly threads: number
  /** What failed, and what that costs. Empty if nothing did. */
  readonly problems: readonly string[]
}

/** Measured with the default batch: `npm run bench` has the figures. */
const wasmCost = 'WASM computes on one thread, and a training step takes about ten times as long'

/** The same. */
const graphlessCost = 'Training goes operation by operation, and a step takes about twice as long'

/**
 * Loads an engine and verifies that it computes.
 *
 * @param preferred `wasm` skips the native one; `tensorflow` refuses to fall back
 * @param intraOpThreads what TF_NUM_INTRAOP_THREADS is set to, where it is: for the report only
 * @throws UnavailableError if the preferred one, or none, can be loaded
 */
export async function loadBackend(preferred?: BackendName, intraOpThreads?: number): Promise<BackendReport> {
  const problems: string[] = []
  if (preferred !== 'wasm') {
    try {
      const tensorflow = await loadNative()
      try {
        proveGraphs()
      } catch (cause) {
        problems.push(`libtensorflow ${tensorflow} does not run graphs: ${firstLine(cause)}. ${graphlessCost}.`)
      }
      return {
        backend: 'tensorflow',
        tfjs: tf.version_core,
        tensorflow,
        threads: intraOpThreads ?? os.availableParallelism(),
        problems
      }
    } catch (cause) {
      const tried = `the native backend (@tensorflow/tfjs-node) does not load: ${firstLine(cause)}`
      const remedy = 'Run `mtmi setup` to install libtensorflow'
      if (preferred === 'tensorflow')
        throw new UnavailableError(`${tried}. ${remedy}, or allow the WASM backend.`, { cause })
      problems.push(`${tried}. ${remedy}. Until then ${wasmCost}.`)
    }
  } else problems.push(`the native backend was not tried, because WASM is configured (MTMI_BACKEND): ${wasmCost}`)
  try {
    await loadWasm()
  } catch (cause) {
    throw new UnavailableError([...problems, `the WASM backend does not load either: ${firstLine(cause)}`].join('\n'), {
      cause
    })
  }
  // Its multi-threaded build needs browser workers: in Node it never starts, and it would fall back without a word.
  return { backend: 'wasm', tfjs: tf.version_core, tensorflow: undefined, threads: 1, problems }
}

/**
 * Runs `f` and measures the most memory that tensors take, those alive before included. Memory within an operation is
 * not seen, so graphs are computed operation by operation.
 *
 * @throws what `f` throws
 */
export async function peakTensorBytes<T>(f: () => T): Promise<{ result: T; bytes: number }> {
  const ran: { result?: T; error?: unknown } = {}
  const { peakBytes } = await tf.profile(() => {
    try {
      ran.result = withoutGraphs(f)
    } catch (error) {
      // Thrown through tf.profile it would leave the engine profiling forever.
      ran.error = error
    }
    return []
  })
  if ('error' in ran) throw ran.error
  return { result: ran.result as T, bytes: Math.max(0, peakBytes) }
}

async function loadNative(): Promise<string> {
  await import('./removedNodeFunctions.ts')
  const module: unknown = await import('@tensorflow/tfjs-node')
  await activate('tensorflow')
  return libraryVersion(module) ?? 'unknown'
}

async function loadWasm(): Promise<void> {
  // For the gradients: tfjs-core alone registers none in Node, tfjs-node brings them by importing this.
  await import('@tensorflow/tfjs')
  const wasm = await import('@tensorflow/tfjs-backend-wasm')
  const folder = path.dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm'))
  wasm.setWasmPaths(folder + path.sep)
  await activate('wasm')
}

/**
 * A backend that cannot be initialised leaves another one live without throwing: so the name is checked, and a product
 * with a known result.
 */
async function activate(name: BackendName): Promise<void> {
  const live = await tf.setBackend(name)
  if (!live || tf.getBackend() !== name)
    throw new Error(`tfjs did not switch to '${name}': '${tf.getBackend()}' is live`)
  const product = tf.tidy(() =>
    tf.matMul(tf.tensor2d([1, 2, 3, 4], [2, 2]), tf.tensor2d([5, 6, 7, 8], [2, 2])).dataSync()
  )
  const expected = [19, 22, 43, 50]
  if (expected.some((x, i) => product[i] !== x))
    throw new Error(`'${name}' computed [${[...product].join(', ')}], not [${expected.join(', ')}]`)
}

/** tfjs-node's binding knows; tfjs hides it on the backend object. */
function libraryVersion(module: unknown): string | undefined {
  const binding = (tf.backend() as { binding?: { TF_Version?: string } }).binding
  if (typeof binding?.TF_Version === 'string') return binding.TF_Version
  const version = (module as { version?: Record<string, string> }).version
  return version?.['tfjs-node']
}

function firstLine(cause: unknown): string {
  return ((cause instanceof Error ? cause.message : String(cause)).split('\n')[0] ?? '').replace(/[.\s]+$/, '')
}
