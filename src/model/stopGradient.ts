import * as tf from '@tensorflow/tfjs-core'

/** f(inputs) as a constant: no gradient flows through it, and nothing of it is remembered for one. */
export function stopGradient<Inputs extends readonly tf.Tensor[], Output extends tf.Tensor>(
  inputs: Inputs,
  f: (...inputs: [...Inputs]) => Output
): Output {
  const stopped = tf.customGrad((...given) => {
    const tensors = given.slice(0, inputs.length) as [...Inputs]
    const shapes = tensors.map(({ shape }) => shape)
    return { value: f(...tensors), gradFunc: () => shapes.map((shape) => tf.zeros(shape)) }
  })
  return stopped(...inputs) as Output
}
