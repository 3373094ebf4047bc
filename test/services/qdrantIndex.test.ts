// What every index promises, on a real Qdrant.

import { vectorIndexSuite } from '../conformance/vectorIndexSuite.ts'
import { clearQdrant, openQdrant, qdrantGiven, qdrantOptions } from './qdrant.ts'

if (qdrantGiven('Qdrant: conformance')) {
  for (const [name, more] of [
    ['Qdrant', {}],
    ['Qdrant, int8', { quantization: 'int8', exact: true }]
  ] as const) {
    vectorIndexSuite(name, async () => {
      const options = qdrantOptions(more)
      const index = openQdrant(options)
      return {
        index,
        dispose: async () => {
          await index.close()
          await clearQdrant(options)
        }
      }
    })
  }
}
