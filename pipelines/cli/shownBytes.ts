// Bytes as a person can look at them.

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** The text that they are; undefined if they are not UTF-8. */
export function textOf(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes)
  } catch {
    return undefined // not UTF-8
  }
}

/** Text where it is text, and hexadecimal otherwise. */
export function shownBytes(bytes: Uint8Array | null, charsMax = 400): string {
  if (bytes === null) return 'null'
  const text = textOf(bytes) ?? `0x${Buffer.from(bytes).toString('hex')}`
  return text.length > charsMax ? `${text.slice(0, charsMax)}… (${bytes.length} bytes)` : text
}

/** Offset, sixteen bytes, and their ASCII characters a line. */
export function hexDump(bytes: Uint8Array, bytesMax: number): string[] {
  const lines: string[] = []
  for (let at = 0; at < Math.min(bytes.length, bytesMax); at += 16) {
    const row = bytes.subarray(at, Math.min(at + 16, bytesMax, bytes.length))
    const hex = [...row].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
    const text = [...row].map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('')
    lines.push(`${at.toString(16).padStart(6, '0')}  ${hex.padEnd(47)}  ${text}`)
  }
  if (bytes.length > bytesMax) lines.push(`… ${bytes.length - bytesMax} more bytes`)
  return lines
}
