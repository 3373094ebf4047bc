// JSON without loss: JSON.parse rounds whole numbers beyond 2⁵³, and two users with long numeric ids would become one.

/** Fewer digits are always exact. */
const longNumber = /\d{16}/

/**
 * As JSON.parse, but whole numbers that a number does not hold exactly become their digits as text.
 *
 * @throws SyntaxError if it is not JSON
 */
export function parseExactJson(text: string): unknown {
  const value: unknown = JSON.parse(text)
  return longNumber.test(text) ? JSON.parse(withQuotedLongs(text)) : value
}

/** @param text known to be JSON, so what looks like a number outside of text is one */
function withQuotedLongs(text: string): string {
  let quoted = ''
  let copied = 0
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!
    if (char === '"') {
      at++
      while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1
    } else if (char === '-' || (char >= '0' && char <= '9')) {
      let end = at + 1
      while (end < text.length && /[0-9.eE+-]/.test(text[end]!)) end++
      const number = text.slice(at, end)
      if (/^-?\d+$/.test(number) && !Number.isSafeInteger(Number(number))) {
        quoted += `${text.slice(copied, at)}"${number}"`
        copied = end
      }
      at = end - 1
    }
  }
  return quoted + text.slice(copied)
}
