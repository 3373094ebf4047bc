// Runs every test file that needs no process of its own (see files.mjs) in one. A file may still be run by itself; a
// failure names its file.

import assert from 'node:assert/strict'
import path from 'node:path'
import test from 'node:test'
import { pathToFileURL } from 'node:url'
import { units } from './files.mjs'

for (const file of units) await import(pathToFileURL(path.join(import.meta.dirname, file)).href)

test('most test files share this process', () => assert(units.length > 50, `only ${units.length}`))
