/** The text as a message shows it: quoted, at most `charsMax` characters. */
export function shorten(text: string, charsMax = 80): string {
  return JSON.stringify(text.length > charsMax ? `${text.slice(0, charsMax)}…` : text)
}
