// The only way to standard output and standard error. Titles, ids and reasons are text of others: what is printed here
// cannot move the cursor, change the terminal's title or colours, or reverse the direction of what is read.

import { createInterface } from 'node:readline/promises'

/**
 * C0 without tab and line feed, DEL and C1; marks, embeddings, overrides and isolates of direction; line and paragraph
 * separators.
 */
const harmful = /(?![\t\n])[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu

/** Each such character as `\u001b`, which is what JSON writes for it, so that a line of JSON still means the same. */
export function plainText(text: string): string {
  return text.replace(harmful, escaped)
}

/** The same for stored text inside a line: it can neither end the line nor shift its columns. */
export function plainLine(text: string): string {
  return plainText(text).replace(/[\t\n]/g, escaped)
}

function escaped(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** Results: standard output. */
export function print(text: string): void {
  process.stdout.write(plainText(text))
}

/** Everything else that a person reads: one or more whole lines on standard error. */
export function note(lines: string): void {
  process.stderr.write(`${plainText(lines)}\n`)
}

/** A question on standard error. @returns whether the answer was yes */
export async function confirmed(question: string): Promise<boolean> {
  // Without `terminal` readline writes no escapes; the terminal itself edits the line.
  const prompt = createInterface({ input: process.stdin, output: process.stderr, terminal: false })
  try {
    return /^y(es)?$/i.test((await prompt.question(`${plainText(question)} [y/N] `)).trim())
  } finally {
    prompt.close()
  }
}

/**
 * Standard output, for results that are too long for one string. Text for it goes through `plainText`, as JSON does
 * unharmed.
 */
export function resultStream(): NodeJS.WriteStream {
  return process.stdout
}

const ownWrite = new WeakMap<NodeJS.WriteStream, NodeJS.WriteStream['write']>()

/**
 * From now on all text that is written to this stream is plain, that of libraries and of Node's own warnings included;
 * bytes are left as they are.
 */
export function keepPlain(stream: NodeJS.WriteStream): void {
  const write = stream.write.bind(stream) as (...args: unknown[]) => boolean
  ownWrite.set(stream, write as typeof stream.write)
  stream.write = ((chunk: unknown, ...rest: unknown[]) =>
    write(typeof chunk === 'string' ? plainText(chunk) : chunk, ...rest)) as typeof stream.write
}

/** For a process that is a command. @param onOutputError standard output can no longer be written, such as EPIPE */
export function keepTerminalPlain(onOutputError: (error: NodeJS.ErrnoException) => void): void {
  keepPlain(process.stdout)
  keepPlain(process.stderr)
  process.stdout.on('error', onOutputError)
}

/**
 * Standard error for progress bars and status lines, which move the cursor: the text inside them must go through
 * `plainLine`.
 */
export function progressStream(): NodeJS.WriteStream {
  const write = ownWrite.get(process.stderr)
  if (write === undefined) return process.stderr
  return new Proxy(process.stderr, {
    get: (stream, name) => (name === 'write' ? write : Reflect.get(stream, name, stream))
  })
}
