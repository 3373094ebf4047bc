import assert from 'node:assert/strict'
import * as tf from '@tensorflow/tfjs-core'

export interface Part {
  readonly values: ArrayLike<number>
  readonly shape: readonly number[]
}

export function close(a: number, b: number, tolerance: number, what: string): void {
  assert.ok(Math.abs(a - b) <= tolerance * (1 + Math.abs(b)), `${what}: ${a}, expected ${b}`)
}

/**
 * A scalar and its gradient in every part, against a plain function of the same numbers: its value, and its central
 * differences.
 *
 * @param constants parts whose gradient is 0 although the scalar depends on them: what a stop-gradient means
 */
export function checkGradients<Name extends string>(
  parts: Readonly<Record<Name, Part>>,
  scalar: (tensors: Readonly<Record<Name, tf.Tensor>>) => tf.Scalar,
  reference: (values: Readonly<Record<Name, ArrayLike<number>>>) => number,
  options: { tolerance?: number; constants?: readonly Name[] } = {}
): void {
  const { tolerance = 3e-4, constants = [] } = options
  const names = Object.keys(parts) as Name[]
  const values = Object.fromEntries(names.map((name) => [name, parts[name].values])) as Record<Name, ArrayLike<number>>
  let value = Number.NaN
  let gradients: (Float32Array | Int32Array | Uint8Array)[] = []
  tf.tidy(() => {
    const leaves = names.map((name) => tf.tensor(Float32Array.from(parts[name].values), parts[name].shape as number[]))
    const named = (tensors: tf.Tensor[]) =>
      Object.fromEntries(names.map((name, i) => [name, tensors[i]!])) as Record<Name, tf.Tensor>
    const found = tf.valueAndGrads((...tensors: tf.Tensor[]) => scalar(named(tensors)))(leaves)
    value = found.value.dataSync()[0]!
    gradients = found.grads.map((gradient) => gradient.dataSync())
  })
  close(value, reference(values), 2e-5, 'value')
  for (const [n, name] of names.entries()) {
    assert.equal(gradients[n]!.length, parts[name].values.length, name)
    for (let i = 0; i < parts[name].values.length; i++) {
      const at = (x: number) => {
        const moved = Float64Array.from(parts[name].values)
        moved[i]! += x
        return reference({ ...values, [name]: moved })
      }
      const expected = constants.includes(name) ? 0 : (at(1e-5) - at(-1e-5)) / 2e-5
      close(gradients[n]![i]!, expected, tolerance, `${name}[${i}]`)
    }
  }
}
