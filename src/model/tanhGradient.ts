import * as tf from '@tensorflow/tfjs-core'

/** What tfjs-node's backend offers beyond tfjs: any operation of libtensorflow by its name. */
interface NativeBackend {
  readonly binding: { readonly TF_ATTR_TYPE: number; readonly TF_FLOAT: number }
  executeSingleOutput(name: string, attributes: readonly unknown[], inputs: readonly tf.Tensor[]): tf.Tensor
}

/**
 * gradient · (1 − y²), where y = tanh(x): one pass over memory where the engine has it as one operation, else three.
 * @returns of their shape
 */
export function tanhGradient(y: tf.Tensor, gradient: tf.Tensor): tf.Tensor {
  if (tf.getBackend() !== 'tensorflow') return tf.mul(gradient, tf.sub(1, tf.square(y)))
  const native = tf.backend() as unknown as NativeBackend
  const { TF_ATTR_TYPE, TF_FLOAT } = native.binding
  return native.executeSingleOutput('TanhGrad', [{ name: 'T', type: TF_ATTR_TYPE, value: TF_FLOAT }], [y, gradient])
}
