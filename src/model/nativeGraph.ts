// A graph that libtensorflow runs as a whole, with its own scheduler: independent operations run on different cores.
//
// tfjs calls operation by operation: each call costs some 10 µs beside the arithmetic, and while one operation runs the
// other cores wait.

import * as tf from '@tensorflow/tfjs-core'
import { GraphBuilder, type Output } from './graphBuilder.ts'

/** What tfjs-node's backend offers beyond tfjs. */
interface NativeBackend {
  readonly binding: NativeBinding
  getInputTensorIds(tensors: readonly tf.Tensor[]): number[]
}

interface NativeBinding {
  readonly TF_FLOAT: number
  readonly TF_INT32: number
  executeOp(name: string, attributes: readonly unknown[], inputs: readonly number[], outputs: number): unknown[]
  createTensor(shape: readonly number[], type: number, values: Float32Array | Int32Array): number
  deleteTensor(id: number): void
  tensorDataSync(id: number): Float32Array
  loadSavedModel(directory: string, tags: string): number
  deleteSavedModel(id: number): void
  runSavedModel(id: number, tensors: readonly number[], inputs: string, outputs: string): { readonly id: number }[]
}

/**
 * Graphs written: each in a folder of its own, as tfjs-node takes them from folders only, but in libtensorflow's
 * memory. Some 40 KB each, for good.
 */
let written = 0

export interface GraphFeed {
  readonly shape: readonly number[]
  readonly values: Float32Array | Int32Array
}

let proven = false

let withheld = false

/** Whether the live backend was verified to run graphs. */
export function runsGraphs(): boolean {
  return proven && !withheld && tf.getBackend() === 'tensorflow'
}

/** Runs `f` without graphs: what happens inside one cannot be observed. */
export function withoutGraphs<T>(f: () => T): T {
  withheld = true
  try {
    return f()
  } finally {
    withheld = false
  }
}

/**
 * Runs a small graph on libtensorflow. Before it succeeds no graph is used. @throws Error with libtensorflow's message
 */
export function proveGraphs(): void {
  proven = false
  const builder = new GraphBuilder()
  const x = builder.input('x', [-1, 2])
  const graph = new NativeGraph(builder, { product: builder.matMul(x, x, 'second') })
  const { product } = graph.run({ x: { shape: [2, 2], values: Float32Array.of(1, 2, 3, 4) } })
  graph.dispose()
  if (String(product) !== '5,11,11,25') throw new Error(`a graph computed [${String(product)}], not [5,11,11,25]`)
  proven = true
}

export class NativeGraph<Name extends string> {
  readonly #binding: NativeBinding
  readonly #id: number
  readonly #names: readonly Name[]
  readonly #outputs: string

  constructor(graph: GraphBuilder, outputs: Readonly<Record<Name, Output>>) {
    const backend = tf.backend() as unknown as NativeBackend
    const folder = `ram://graphs/${written++}`
    this.#binding = backend.binding
    this.#names = Object.keys(outputs) as Name[]
    this.#outputs = this.#names.map((name) => outputs[name]).join(',')
    tf.tidy(() => {
      // A tensor of bytes is a string to TensorFlow; tfjs knows no other type for it.
      const contents = tf.tensor([graph.serialized()] as unknown as string[], [], 'string')
      const file = tf.tensor([`${folder}/saved_model.pb`], [], 'string')
      backend.binding.executeOp('WriteFile', [], backend.getInputTensorIds([file, contents]), 0)
    })
    this.#id = this.#binding.loadSavedModel(folder, 'serve')
  }

  /** @param feeds a value for each of the graph's inputs @returns memory of the caller's */
  run(feeds: Readonly<Record<string, GraphFeed>>): Record<Name, Float32Array> {
    const binding = this.#binding
    const inputs: number[] = []
    try {
      for (const { shape, values } of Object.values(feeds))
        inputs.push(
          binding.createTensor(shape, values instanceof Float32Array ? binding.TF_FLOAT : binding.TF_INT32, values)
        )
      const made = binding.runSavedModel(this.#id, inputs, Object.keys(feeds).join(','), this.#outputs)
      const values = made.map(({ id }) => binding.tensorDataSync(id))
      for (const { id } of made) binding.deleteTensor(id)
      return Object.fromEntries(this.#names.map((name, i) => [name, values[i]!])) as Record<Name, Float32Array>
    } finally {
      for (const id of inputs) binding.deleteTensor(id)
    }
  }

  /** Frees its memory; it is not to be run afterwards. */
  dispose(): void {
    this.#binding.deleteSavedModel(this.#id)
  }
}
