// Where in a record something is, as the configuration names it.
//
//     payload.user.id            a field of the value
//     items[0].sku, items[-1]    an element of a list, from the front or from the back
//     items[*].sku               every element of a list. In `item` (else in `user`): one interaction each, and paths through the same list mean the
//                                same element. Elsewhere, and through another list: the first element that has a value
//                                there
//     params[key=item_id].value  the first element of a list whose field `key` is `item_id` and that has a value there;
//     [a.b="x y"] also works
//     payload|json.user.id       text that is JSON is parsed; header:context|json.user and key|json.id too
//     $.key, $["user.id"]        fields whose names would otherwise mean something else; $ alone is the whole value, $[*] its elements
//     key, key.id                the record's key: as text, or a field of a key that is JSON, Avro or framed by the registry
//     header:ce_id               a header
//     log:time, log:source       when the log took the record; topic/partition/offset
//     =click                     this very text

import { ConfigError } from './errors.ts'

/** Every element of a list. */
interface EachStep {
  readonly kind: 'each'
  /** The list's place in the record: equal for paths through the same list. */
  readonly list: string
}

/** The elements whose field is this text. */
interface WhereStep {
  readonly kind: 'where'
  readonly field: readonly string[]
  readonly equals: string
}

/** A field's name, an element's index (negative: from the end), elements, or text to parse as JSON. */
export type PathStep = string | number | EachStep | WhereStep | { readonly kind: 'json' }

export type FieldPath =
  | { readonly kind: 'constant'; readonly text: string; readonly value: string }
  | { readonly kind: 'header'; readonly text: string; readonly name: string; readonly steps: readonly PathStep[] }
  | { readonly kind: 'time' | 'source'; readonly text: string }
  /** Steps from the value, or from the key, inwards. */
  | { readonly kind: 'value'; readonly text: string; readonly steps: readonly PathStep[] }
  | { readonly kind: 'key'; readonly text: string; readonly steps: readonly PathStep[] }

/** Deeper paths are a mistake, not a record. */
const stepsMax = 32

/** @throws ConfigError with what cannot be understood */
export function parseFieldPath(text: string): FieldPath {
  if (text.startsWith('=')) {
    if (text.length === 1) throw new ConfigError(['after = the text that is meant must follow, as in =click'])
    return { kind: 'constant', text, value: text.slice(1) }
  }
  if (text.trim() !== text || text === '')
    throw new ConfigError([`${JSON.stringify(text)} is empty, or begins or ends with a blank`])
  if (/^key(?:$|[.[|])/.test(text)) return { kind: 'key', text, steps: parseSteps(text, 3) }
  if (text === 'log:time') return { kind: 'time', text }
  if (text === 'log:source') return { kind: 'source', text }
  if (text.startsWith('header:')) {
    const end = text.indexOf('|json')
    const name = text.slice('header:'.length, end < 0 ? undefined : end)
    if (name === '') throw new ConfigError(['after header: a name must follow, as in header:ce_id'])
    return { kind: 'header', text, name, steps: end < 0 ? [] : parseSteps(text, end) }
  }
  const scheme = /^[a-z]+:/.exec(text)
  if (scheme !== null) {
    throw new ConfigError([
      `${text}: there is header:NAME, log:time and log:source; a field of that name is $[${JSON.stringify(text)}]`
    ])
  }
  return { kind: 'value', text, steps: parseSteps(text, /^\$(?:$|[.[|])/.test(text) ? 1 : 0) }
}

/** The lists whose every element the path goes through, from the outside inwards. */
export function listsOf(path: FieldPath): readonly string[] {
  if (!('steps' in path)) return []
  return path.steps.flatMap((step) => (typeof step === 'object' && step.kind === 'each' ? [step.list] : []))
}

/** @param start where the steps begin in the text; 0: with a name, without a dot before it */
function parseSteps(text: string, start: number): PathStep[] {
  const steps: PathStep[] = []
  const root = text.slice(0, start)
  let at = start
  while (at < text.length) {
    const rest = text.slice(at)
    if (rest.startsWith('[')) {
      const bracket =
        /^\[(?:(\*)|(-?\d{1,6})|"((?:[^"\\]|\\.)*)"|'([^']*)'|([^=\]"'[]+)=(?:"((?:[^"\\]|\\.)*)"|([^\]"]+)))\]/.exec(
          rest
        )
      if (bracket === null) {
        throw new ConfigError([
          `${text}: ${JSON.stringify(rest)} is no element; write [0], [-1] for the last, [*] for each, [key=value] for the one with that value, or ["a name"]`
        ])
      }
      const [whole, each, index, quoted, single, field, quotedValue, value] = bracket
      if (each !== undefined) steps.push({ kind: 'each', list: root + JSON.stringify(steps) })
      else if (field !== undefined) {
        const equals = value ?? (JSON.parse(`"${quotedValue}"`) as string)
        steps.push({ kind: 'where', field: field.split('.'), equals })
      } else
        steps.push(
          index !== undefined ? Number(index) : quoted !== undefined ? (JSON.parse(`"${quoted}"`) as string) : single!
        )
      at += whole.length
      continue
    }
    if (rest.startsWith('|')) {
      const name = /^\|json(?=$|[.[|])/.exec(rest)
      if (name === null)
        throw new ConfigError([
          `${text}: ${JSON.stringify(rest)}: after | there is json only; a name with | is ["a|b"]`
        ])
      steps.push({ kind: 'json' })
      at += name[0].length
      continue
    }
    if (at > 0) {
      if (text[at] !== '.')
        throw new ConfigError([`${text}: expected a dot or a bracket before ${JSON.stringify(rest)}`])
      at++
    }
    const name = /^[^.[\]|]+/.exec(text.slice(at))
    if (name === null)
      throw new ConfigError([
        `${text}: expected a name ${at >= text.length ? 'at its end' : `before ${JSON.stringify(text.slice(at))}`}`
      ])
    steps.push(name[0])
    at += name[0].length
  }
  if (steps.length > stepsMax)
    throw new ConfigError([`${text}: ${steps.length} steps, at most ${stepsMax} are allowed`])
  return steps
}
