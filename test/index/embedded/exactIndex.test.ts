import { ExactIndex } from '../../../src/index/embedded/exactIndex.ts'
import { vectorIndexSuite } from '../../conformance/vectorIndexSuite.ts'

vectorIndexSuite('exact, in memory', async () => {
  const index = new ExactIndex()
  return { index, dispose: () => index.close() }
})
