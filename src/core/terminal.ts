// Text of others as a terminal may show it: nothing that moves its cursor, changes its title or colours, or turns the direction of what is read.

/** C0 without tab and line end, DEL and C1; marks, embeddings, overrides and isolates of direction; line and paragraph separators. */
const harmful = /(?![\t\n])[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu

/** Each such character as `\u001b`, which is what JSON writes for it, so that a line of JSON still means the same. */
export function plainText(text: string): string {
  return text.replace(harmful, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** From now on all text that is written to this stream is plain; bytes are left as they are. */
export function keepPlain(stream: NodeJS.WriteStream): void {
  const write = stream.write.bind(stream) as (...args: unknown[]) => boolean
  stream.write = ((chunk: unknown, ...rest: unknown[]) =>
    write(typeof chunk === 'string' ? plainText(chunk) : chunk, ...rest)) as typeof stream.write
}
