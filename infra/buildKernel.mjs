// Compiles src/index/itemScan.wat with wabt and writes it as base64 to src/index/itemScanWasm.ts.
//
// node infra/buildKernel.mjs

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import wabt from 'wabt'

const at = (file) => fileURLToPath(new URL(`../src/index/${file}`, import.meta.url))

/** @returns {Promise<Buffer>} the module */
export async function compileKernel() {
  const { parseWat } = await wabt()
  const module = parseWat('itemScan.wat', readFileSync(at('itemScan.wat'), 'utf8'), { simd: true })
  try {
    return Buffer.from(module.toBinary({}).buffer)
  } finally {
    module.destroy()
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const lines = (await compileKernel()).toString('base64').match(/.{1,112}/g)
  const text = lines.map((line) => `  '${line}'`).join(' +\n')
  writeFileSync(
    at('itemScanWasm.ts'),
    `// Written by infra/buildKernel.mjs from itemScan.wat: change it there.\n\nexport const itemScanWasm =\n${text}\n`
  )
}
