// A computation as a TensorFlow graph: nodes by name, written down as a saved model, the one form in which tfjs-node
// takes a graph.
//
// The field numbers are those of TensorFlow's graph.proto, node_def.proto, attr_value.proto, tensor.proto,
// meta_graph.proto and saved_model.proto.

/** A node's output: its name, with `:1`, `:2` … behind it for others than the first. */
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

/** TensorFlow's `DataType`. */
const typeNumbers: Readonly<Record<ElementType, number>> = { float: 1, int32: 3, bool: 10 }
const float: Attribute = { type: 'float' }
const int32: Attribute = { type: 'int32' }

/**
 * Graphs of this version and later ones mean the same by the operations that are used here; TensorFlow 2.0's was 134.
 */
const producer = 134

/** Inputs and outputs are floats where nothing else is said. */
export class GraphBuilder {
  readonly #nodes: Uint8Array[] = []

  /** @returns a saved model with the graph so far under the tag `serve` */
  serialized(): Uint8Array {
    const graph = new Message()
    for (const node of this.#nodes) graph.bytes(1, node)
    graph.message(4, new Message().int(1, producer))
    const meta = new Message().message(1, new Message().text(4, 'serve')).message(2, graph)
    return new Message().int(1, 1).message(2, meta).serialized()
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
    name = `n${this.#nodes.length}`
  ): Output {
    const node = new Message().text(1, name).text(2, operation)
    for (const input of inputs) node.text(3, input)
    for (const [key, value] of Object.entries(attributes))
      node.message(5, new Message().text(1, key).message(2, written(value)))
    this.#nodes.push(node.serialized())
    return name
  }
}

function written(value: Attribute): Message {
  if ('type' in value) return new Message().int(6, typeNumbers[value.type])
  if ('int' in value) return new Message().int(3, value.int)
  if ('bool' in value) return new Message().int(5, value.bool ? 1 : 0)
  if ('dimensions' in value) return new Message().message(7, shapeOf(value.dimensions))
  const { buffer, byteOffset, byteLength } = value.values
  const type = typeNumbers[value.values instanceof Float32Array ? 'float' : 'int32']
  return new Message().message(
    8,
    new Message()
      .int(1, type)
      .message(2, shapeOf(value.shape))
      .bytes(4, new Uint8Array(buffer, byteOffset, byteLength))
  )
}

function shapeOf(dimensions: readonly number[]): Message {
  const shape = new Message()
  for (const size of dimensions) shape.message(2, new Message().int(1, size))
  return shape
}

/** A protocol buffer in the making. */
class Message {
  readonly #parts: Uint8Array[] = []

  int(field: number, value: number): this {
    this.#varint(8 * field)
    this.#varint(value)
    return this
  }

  text(field: number, value: string): this {
    return this.bytes(field, new TextEncoder().encode(value))
  }

  message(field: number, value: Message): this {
    return this.bytes(field, value.serialized())
  }

  bytes(field: number, value: Uint8Array): this {
    this.#varint(8 * field + 2)
    this.#varint(value.length)
    this.#parts.push(value)
    return this
  }

  serialized(): Uint8Array {
    const all = new Uint8Array(this.#parts.reduce((sum, { length }) => sum + length, 0))
    let at = 0
    for (const part of this.#parts) {
      all.set(part, at)
      at += part.length
    }
    return all
  }

  #varint(value: number): void {
    const bytes: number[] = []
    let left = BigInt.asUintN(64, BigInt(value))
    for (; left >= 0x80n; left >>= 7n) bytes.push(Number(left & 0x7fn) | 0x80)
    bytes.push(Number(left))
    this.#parts.push(Uint8Array.from(bytes))
  }
}
