// A worker thread from one of our own files, whether this runs as TypeScript or as what was built from it.

import { Worker, type WorkerOptions } from 'node:worker_threads'

/**
 * Node 20 does not give a thread the loader that the process was given for TypeScript: there the thread registers it
 * itself.
 *
 * @param file without its ending, as a URL: `new URL('./searchWorker', import.meta.url)`
 */
export function startSourceWorker(file: URL, options: WorkerOptions): Worker {
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL(`${file.href}.js`), options)
  const loader = import.meta.resolve('tsx/esm/api')
  const script = `import(${JSON.stringify(loader)}).then((tsx) => { tsx.register(); return import(${JSON.stringify(`${file.href}.ts`)}) })`
  return new Worker(script, { ...options, eval: true })
}
