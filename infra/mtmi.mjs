#!/usr/bin/env node
// The `mtmi` command. In a clone it makes sure that everything is installed and runs the TypeScript sources; in the
// installed package it runs what was built.
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { setUp } from './setup.mjs'

// libtensorflow's own notes about how it was compiled are no news to anyone who runs this; its warnings and errors are.
process.env.TF_CPP_MIN_LOG_LEVEL ??= '1'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const source = path.join(root, 'pipelines', 'cli', 'cli.ts')
const built = path.join(root, 'dist', 'pipelines', 'cli', 'cli.js')

if (process.argv[2] === 'setup' && process.argv.length === 3) setUp({ asked: true })
else if (fs.existsSync(source)) {
  setUp()
  const { register } = await import('tsx/esm/api')
  register()
  await import(pathToFileURL(source).href)
} else await import(pathToFileURL(built).href)
