import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { symmetricEigen } from '../../src/serve/symmetricEigen.ts'

const close = (a: number, b: number, tolerance = 1e-9) => assert(Math.abs(a - b) <= tolerance, `${a} is not ${b}`)

test('a matrix whose eigenvalues are known', () => {
  // [[2, 1], [1, 2]]: 1 along (1, −1) / √2 and 3 along (1, 1) / √2.
  const matrix = Float64Array.of(2, 1, 1, 2)
  const values = symmetricEigen(matrix, 2)
  const three = values[0]! > values[1]! ? 0 : 1
  close(values[three]!, 3)
  close(values[1 - three]!, 1)
  close(Math.abs(matrix[three]!), Math.SQRT1_2)
  close(matrix[three]!, matrix[2 + three]!)
  assert.deepEqual([...symmetricEigen(Float64Array.of(-4), 1)], [-4])
  assert.deepEqual([...symmetricEigen(new Float64Array(0), 0)], [])
  assert.deepEqual([...symmetricEigen(new Float64Array(9), 3)], [0, 0, 0])
})

test('of any symmetric matrix: A v = λ v, vectors of length 1 and at right angles', () => {
  const entry = fc.oneof(
    fc.integer({ min: -9, max: 9 }),
    fc.constant(0),
    fc.double({ min: -1e3, max: 1e3, noNaN: true })
  )
  const matrices = fc
    .integer({ min: 1, max: 14 })
    .chain((size) => fc.tuple(fc.constant(size), fc.array(entry, { minLength: size * size, maxLength: size * size })))
  fc.assert(
    fc.property(matrices, ([size, entries]) => {
      const matrix = Float64Array.from({ length: size * size }, (_, at) => {
        const [i, j] = [Math.floor(at / size), at % size]
        return entries[Math.min(i, j) * size + Math.max(i, j)]!
      })
      const vectors = matrix.slice()
      const values = symmetricEigen(vectors, size)
      const scale = Math.max(1, ...matrix.map(Math.abs)) * size
      for (let k = 0; k < size; k++) {
        for (let i = 0; i < size; i++) {
          let product = 0
          for (let j = 0; j < size; j++) product += matrix[i * size + j]! * vectors[j * size + k]!
          close(product, values[k]! * vectors[i * size + k]!, 1e-11 * scale)
        }
        for (let other = 0; other <= k; other++) {
          let dot = 0
          for (let i = 0; i < size; i++) dot += vectors[i * size + k]! * vectors[i * size + other]!
          close(dot, other === k ? 1 : 0, 1e-11 * size)
        }
      }
    }),
    { numRuns: 300 }
  )
})
