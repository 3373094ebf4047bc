// A process that writes to an embedded index: node --import tsx embeddedIndexWriter.ts DIRECTORY FROM TO. Prints the
// number of each write once it is durable.
import { EmbeddedIndex } from '../../../src/index/embedded/embeddedIndex.ts'
import { itemPoint, userPoint } from '../../conformance/vectorIndexPoints.ts'

const [directory, from, to] = process.argv.slice(2)
const index = await EmbeddedIndex.open(directory!, { searchThread: false })
await index.createVersion('a', { dimensions: 4, interestCount: 1 })
for (let i = Number(from); i < Number(to); i++) {
  // Each write moves all three points together: a reader that saw half of one would notice.
  const title = `${i}`
  await index.upsert('a', i, [
    itemPoint('first', [1, 0, 0, 0], { title }),
    itemPoint('second', [0, 1, 0, 0], { title }),
    userPoint('ann', [[1, 0, 0, 0]], [title])
  ])
  process.stdout.write(`${i}\n`)
}
await index.close()
