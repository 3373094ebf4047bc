// Only what needs types and what Biome cannot see: promises that nothing waits for, those of libraries included; names from outside that look up plain objects.
import tseslint from 'typescript-eslint'
import { ownProperty } from './infra/lint/ownProperty.mjs'
import storedPromises from './infra/lint/storedPromises.mjs'

const typed = { parser: tseslint.parser, parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } }

export default [
  { ignores: ['dist/', 'node_modules/', 'data/'] },
  {
    files: ['src/**/*.ts', 'pipelines/**/*.ts', 'test/**/*.ts'],
    languageOptions: typed,
    plugins: { '@typescript-eslint': tseslint.plugin },
    rules: {
      '@typescript-eslint/no-floating-promises': ['error', { allowForKnownSafeCalls: [{ from: 'package', package: 'node:test', name: ['test', 'it', 'describe', 'suite'] }] }],
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error'
    }
  },
  {
    files: ['src/**/*.ts', 'pipelines/**/*.ts'],
    ignores: ['src/core/own.ts'],
    plugins: { mtmi: { rules: { 'own-property': ownProperty, 'stored-promises': storedPromises } } },
    rules: { 'mtmi/own-property': 'error', 'mtmi/stored-promises': 'error' }
  }
]
