// A computation as a TensorFlow graph: nodes by name, written as a saved model, the one form in which tfjs-node takes a
// graph. The protocol buffers are those that tfjs-node is shipped with, to read saved models.

import { createRequire } from 'node:module'

/** A node's output: its name, followed by `:1`, `:2` … for others than the first. */
export type Output = string

/** Which factor of a product is transposed. */
type Transposed = 'neither' | 'first' | 'second'

type ElementType = 'float' | 'int32' | 'bool'

type Attribute =
  | { readonly type: ElementType }
  | { readonly int: number }
  | { readonly bool: boolean }
  | { readonly dimensions: readonly number[] }
  | { readonly shape: readonly number[]; readonly values: Float32Array | Int32Array }

/** A message that protoc generated, as far as it is used here. */
type Message = Readonly<Record<`set${string}` | `add${string}`, (value: unknown) => void>> & {
  getAttrMap(): Map<string, Message>
  serializeBinary(): Uint8Array
}
type MessageName = 'AttrValue' | 'GraphDef' | 'MetaGraphDef' | 'NodeDef' | 'SavedModel' | 'Tensor' | 'TensorShape' | 'VersionDef' // biome-ignore format: one list
type Messages = Readonly<Record<MessageName, (new () => Message) & Readonly<Record<string, new () => Message>>>> & {
  readonly DataType: Readonly<Record<string, number>>
}

const require = createRequire(import.meta.url)
const messages = () => require('@tensorflow/tfjs-node/dist/proto/api_pb.js') as Messages

const float: Attribute = { type: 'float' }
const int32: Attribute = { type: 'int32' }

/** The version of graphs since which the operations used here have kept their meaning; TensorFlow 2.0's was 134. */
const producer = 134

/** Inputs and outputs are floats unless stated otherwise. */
export class GraphBuilder {
  readonly #graph = new (messages().GraphDef)()
  #nodes = 0

  /** @returns a saved model with the graph so far under the tag `serve` */
  serialized(): Uint8Array {
    const { MetaGraphDef, SavedModel, VersionDef } = messages()
    const versions = new VersionDef()
    versions.setProducer!(producer)
    this.#graph.setVersions!(versions)
    const info = new MetaGraphDef.MetaInfoDef!()
    info.addTags!('serve')
    const meta = new MetaGraphDef()
    meta.setMetaInfoDef!(info)
    meta.setGraphDef!(this.#graph)
    const model = new SavedModel()
    model.setSavedModelSchemaVersion!(1)
    model.addMetaGraphs!(meta)
    return model.serializeBinary()
  }

  /** To be fed. @param shape −1: any length */
  input(name: string, shape: readonly number[], type: 'float' | 'int32' = 'float'): Output {
    return this.#node('Placeholder', [], { dtype: { type }, shape: { dimensions: shape } }, name)
  }

  /** A shape, or indices, to be fed. */
  inputInts(name: string, shape: readonly number[]): Output {
    return this.input(name, shape, 'int32')
  }

  floats(values: Float32Array, shape: readonly number[]): Output {
    return this.#node('Const', [], { dtype: float, value: { shape, values } })
  }

  /** @param shape int32 output */
  zeros(shape: Output): Output {
    return this.#node('Fill', [shape, this.scalar(0)], { T: float, index_type: int32 })
  }

  scalar(value: number): Output {
    return this.floats(Float32Array.of(value), [])
  }

  ints(values: readonly number[]): Output {
    return this.#node('Const', [], { dtype: int32, value: { shape: [values.length], values: Int32Array.from(values) } })
  }

  int(value: number): Output {
    return this.#node('Const', [], { dtype: int32, value: { shape: [], values: Int32Array.of(value) } })
  }

  /** Any operation whose only attribute is the type of its floats. */
  apply(operation: string, ...inputs: Output[]): Output {
    return this.#node(operation, inputs, { T: float })
  }

  add(a: Output, b: Output): Output {
    return this.apply('AddV2', a, b)
  }

  sub(a: Output, b: Output): Output {
    return this.apply('Sub', a, b)
  }

  mul(a: Output, b: Output): Output {
    return this.apply('Mul', a, b)
  }

  div(a: Output, b: Output): Output {
    return this.apply('RealDiv', a, b)
  }

  matMul(a: Output, b: Output, transposed: Transposed = 'neither'): Output {
    const attributes = {
      T: float,
      transpose_a: { bool: transposed === 'first' },
      transpose_b: { bool: transposed === 'second' }
    }
    return this.#node('MatMul', [a, b], attributes)
  }

  /** Products over the last two axes; the others are the same, or 1. */
  batchMatMul(a: Output, b: Output, transposed: Transposed = 'neither'): Output {
    const attributes = { T: float, adj_x: { bool: transposed === 'first' }, adj_y: { bool: transposed === 'second' } }
    return this.#node('BatchMatMulV2', [a, b], attributes)
  }

  transpose(x: Output, order: readonly number[]): Output {
    return this.#node('Transpose', [x, this.ints(order)], { T: float, Tperm: int32 })
  }

  /** @param shape −1 at most once, or an int32 output */
  reshape(x: Output, shape: readonly number[] | Output): Output {
    return this.#node('Reshape', [x, typeof shape === 'string' ? shape : this.ints(shape)], { T: float, Tshape: int32 })
  }

  expand(x: Output, axis: number, T: 'float' | 'int32' = 'float'): Output {
    return this.#node('ExpandDims', [x, this.int(axis)], { T: { type: T }, Tdim: int32 })
  }

  sum(x: Output, axes: readonly number[], keep: 'axes' | 'none' = 'none'): Output {
    return this.#node('Sum', [x, this.ints(axes)], { T: float, Tidx: int32, keep_dims: { bool: keep === 'axes' } })
  }

  least(x: Output, axes: readonly number[]): Output {
    return this.#node('Min', [x, this.ints(axes)], { T: float, Tidx: int32, keep_dims: { bool: true } })
  }

  concat(parts: readonly Output[], axis: number): Output {
    return this.#node('ConcatV2', [...parts, this.int(axis)], { T: float, Tidx: int32, N: { int: parts.length } })
  }

  /** @param sizes int32 [parts] along the first axis */
  split(x: Output, sizes: Output, parts: number): Output[] {
    const name = this.#node('SplitV', [x, sizes, this.int(0)], { T: float, Tlen: int32, num_split: { int: parts } })
    return Array.from({ length: parts }, (_, i) => (i === 0 ? name : `${name}:${i}`))
  }

  /**
   * Always in the same order, so that a replay is bit-equal. AddN is not: it begins with the one whose memory it may
   * keep, and that depends on who was ready first.
   */
  sumOf(parts: readonly Output[]): Output {
    const side = this.#node('Pack', parts, { T: float, N: { int: parts.length }, axis: { int: 0 } })
    return this.sum(side, [0])
  }

  /** @param index int32 of any shape @param batchAxes so many first axes are the same in both */
  gather(x: Output, index: Output, axis = 0, batchAxes = 0): Output {
    return this.#node('GatherV2', [x, index, this.int(axis)], {
      Tparams: float,
      Tindices: int32,
      Taxis: int32,
      batch_dims: { int: batchAxes }
    })
  }

  /**
   * out[i] = Σ of the values whose index is i. @param index int32, its shape the first axes of `values` @param count
   * int32 scalar
   */
  sumByIndex(values: Output, index: Output, count: Output): Output {
    return this.#node('UnsortedSegmentSum', [values, index, count], { T: float, Tindices: int32, Tnumsegments: int32 })
  }

  /** 1 where all conditions are true, else 0. @param conditions of type bool */
  indicator(...conditions: Output[]): Output {
    const all = conditions.reduce((a, b) => this.#node('LogicalAnd', [a, b], {}))
    return this.#node('Cast', [all], { SrcT: { type: 'bool' }, DstT: float })
  }

  /** The last axis scaled to length 1, as `unit` does. */
  unit(x: Output): { readonly y: Output; readonly perLength: Output } {
    const squares = this.sum(this.apply('Square', x), [-1], 'axes')
    const perLength = this.apply('Rsqrt', this.add(squares, this.scalar(1e-12)))
    return { y: this.mul(x, perLength), perLength }
  }

  /** @param gradient of y @returns of x */
  unitGradient({ y, perLength }: ReturnType<GraphBuilder['unit']>, gradient: Output): Output {
    const along = this.sum(this.mul(y, gradient), [-1], 'axes')
    return this.mul(this.sub(gradient, this.mul(y, along)), perLength)
  }

  #node(
    operation: string,
    inputs: readonly Output[],
    attributes: Readonly<Record<string, Attribute>>,
    name = `n${this.#nodes}`
  ): Output {
    const node = new (messages().NodeDef)()
    node.setName!(name)
    node.setOp!(operation)
    node.setInputList!([...inputs])
    for (const [key, value] of Object.entries(attributes)) node.getAttrMap().set(key, attributeOf(value))
    this.#graph.addNode!(node)
    this.#nodes++
    return name
  }
}

function attributeOf(value: Attribute): Message {
  const { AttrValue, DataType, Tensor } = messages()
  const types = { float: DataType.DT_FLOAT, int32: DataType.DT_INT32, bool: DataType.DT_BOOL }
  const attribute = new AttrValue()
  if ('type' in value) attribute.setType!(types[value.type])
  else if ('int' in value) attribute.setI!(value.int)
  else if ('bool' in value) attribute.setB!(value.bool)
  else if ('dimensions' in value) attribute.setShape!(shapeOf(value.dimensions))
  else {
    const { buffer, byteOffset, byteLength } = value.values
    const tensor = new Tensor()
    tensor.setDtype!(types[value.values instanceof Float32Array ? 'float' : 'int32'])
    tensor.setTensorShape!(shapeOf(value.shape))
    tensor.setTensorContent!(new Uint8Array(buffer, byteOffset, byteLength))
    attribute.setTensor!(tensor)
  }
  return attribute
}

function shapeOf(dimensions: readonly number[]): Message {
  const { TensorShape } = messages()
  const shape = new TensorShape()
  for (const size of dimensions) {
    const dimension = new TensorShape.Dim!()
    dimension.setSize!(size)
    shape.addDim!(dimension)
  }
  return shape
}
