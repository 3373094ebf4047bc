// Where in a record something is, as the configuration says it.
//
//     payload.user.id            a field of the value        items[0].sku, items[-1].sku     an element, from the front or the back
//     $.key, $["user.id"]        fields whose names would otherwise mean something else; $ alone is the whole value
//     header:ce_id               a header                    key                             the record's key, as text
//     log:time, log:source       when the log took it; topic/partition/offset
//     =click                     this very text

import { ConfigError } from './errors.ts'

export type FieldPath =
  | { readonly kind: 'constant'; readonly text: string; readonly value: string }
  | { readonly kind: 'header'; readonly text: string; readonly name: string }
  | { readonly kind: 'key' | 'time' | 'source'; readonly text: string }
  /** Steps from the value inwards: a field's name, or an element's index, which counts from the end where negative. */
  | { readonly kind: 'value'; readonly text: string; readonly steps: readonly (string | number)[] }

/** Deeper paths are a mistake, not a record. */
const stepsMax = 32

/** @throws ConfigError with what cannot be understood */
export function parseFieldPath(text: string): FieldPath {
  if (text.startsWith('=')) {
    if (text.length === 1) throw new ConfigError(['after = the text that is meant must follow, as in =click'])
    return { kind: 'constant', text, value: text.slice(1) }
  }
  if (text.trim() !== text || text === '') throw new ConfigError([`${JSON.stringify(text)} is empty, or begins or ends with a blank`])
  if (text === 'key') return { kind: 'key', text }
  if (text === 'log:time') return { kind: 'time', text }
  if (text === 'log:source') return { kind: 'source', text }
  if (text.startsWith('header:')) {
    if (text === 'header:') throw new ConfigError(['after header: a name must follow, as in header:ce_id'])
    return { kind: 'header', text, name: text.slice('header:'.length) }
  }
  const scheme = /^[a-z]+:/.exec(text)
  if (scheme !== null) {
    throw new ConfigError([`${text}: there is header:NAME, log:time and log:source; a field of that name is $[${JSON.stringify(text)}]`])
  }
  return { kind: 'value', text, steps: parseSteps(text) }
}

function parseSteps(text: string): (string | number)[] {
  const steps: (string | number)[] = []
  const rooted = text.startsWith('$') && (text.length === 1 || text[1] === '.' || text[1] === '[')
  let at = rooted ? 1 : 0
  while (at < text.length) {
    if (text[at] === '[') {
      const bracket = /^\[(?:(-?\d{1,6})|"((?:[^"\\]|\\.)*)"|'([^']*)')\]/.exec(text.slice(at))
      if (bracket === null) {
        throw new ConfigError([`${text}: ${JSON.stringify(text.slice(at))} is no element; write [0], [-1] for the last, or ["a name"]`])
      }
      const [whole, index, quoted, single] = bracket
      steps.push(index !== undefined ? Number(index) : quoted !== undefined ? (JSON.parse(`"${quoted}"`) as string) : single!)
      at += whole.length
      continue
    }
    if (steps.length > 0 || rooted) {
      if (text[at] !== '.') throw new ConfigError([`${text}: expected a dot or a bracket before ${JSON.stringify(text.slice(at))}`])
      at++
    }
    const name = /^[^.[\]]+/.exec(text.slice(at))
    if (name === null)
      throw new ConfigError([`${text}: expected a name ${at >= text.length ? 'at its end' : `before ${JSON.stringify(text.slice(at))}`}`])
    steps.push(name[0])
    at += name[0].length
  }
  if (steps.length > stepsMax) throw new ConfigError([`${text}: ${steps.length} steps, at most ${stepsMax} are allowed`])
  return steps
}
