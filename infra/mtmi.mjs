#!/usr/bin/env node
// The `mtmi` command. In a clone it makes sure that everything is installed and runs the TypeScript sources; in the published package it runs what was built.
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

// libtensorflow's own notes about how it was compiled are no news to anyone who runs this; its warnings and errors are.
process.env.TF_CPP_MIN_LOG_LEVEL ??= '1'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const source = path.join(root, 'pipelines', 'cli.ts')

if (fs.existsSync(source)) {
  const { setUp } = await import('./setup.mjs')
  setUp()
  const { register } = await import('tsx/esm/api')
  register()
  await import(pathToFileURL(source).href)
} else {
  await import(pathToFileURL(path.join(root, 'dist', 'pipelines', 'cli.js')).href)
}
