// Puts back what tfjs-node 4.22 calls and Node 23 removed (tensorflow/tfjs issue 8609). Imported before tfjs-node, in
// every thread that loads it: a thread has a `util` module of its own.

import util from 'node:util'

const removed = {
  isArray: Array.isArray,
  isNullOrUndefined: (value: unknown) => value === null || value === undefined
}
for (const [name, put] of Object.entries(removed)) if (!(name in util)) Object.assign(util, { [name]: put })
