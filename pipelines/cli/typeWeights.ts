// Weights for the event types that a source has: by the names that have one already, then by words of the trade.

import { own } from '../../src/core/own.ts'

/** Types that take something back, or are about no item. They get no weight: a person decides. */
const others =
  /cancel|storno|refund|return|retour|remov|delete|unlike|dislike|hide|search|suche|login|logout|sign|newsletter/i
const words: readonly (readonly [RegExp, number])[] = [
  [/purchas|order|buy|bought|checkout|transact|payment|paid|kauf|kaeuf|bestell|achat|compra|acquist/i, 3],
  [/cart|basket|warenkorb|panier|carrito|carrello|wishlist|wunsch|merk|favou?rit|bookmark|save/i, 2],
  [
    /view|ansicht|ansehen|click|klick|clic|visit|besuch|open|play|watch|listen|read|detail|like|rat(e|ing)|review|stream/i,
    1
  ]
]

/** @returns undefined where no name says it */
export function likelyWeight(type: string, weights: Readonly<Record<string, number>>): number | undefined {
  const plain = type.toLowerCase().replace(/[\s_.-]/g, '')
  const known = own(weights, type) ?? own(weights, plain)
  if (known !== undefined || others.test(type)) return known
  return words.find(([word]) => word.test(plain))?.[1]
}

export interface SeenType {
  readonly type: string
  readonly count: number
  /** undefined: events of this type are ignored until it has one. */
  readonly weight: number | undefined
}

/** Of types with their counts, the most frequent first. A type that is the only one counts as 1. */
export function proposeWeights(
  counts: ReadonlyMap<string, number>,
  weights: Readonly<Record<string, number>>
): readonly SeenType[] {
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([type, count]) => ({
      type,
      count,
      weight: likelyWeight(type, weights) ?? (counts.size === 1 ? 1 : undefined)
    }))
}

/** Types beyond this are ids in the wrong column, or need a mapping of their own. */
const shownMax = 40

export function shownTypes(types: readonly SeenType[]): string {
  const width = Math.max(...types.map(({ type }) => Math.min(40, type.length)))
  const lines = types.slice(0, shownMax).map(({ type, count, weight }) => {
    const meaning = weight === undefined ? 'no weight: ignored, until events.types has one for it' : `weight ${weight}`
    return `  ${type.slice(0, 40).padEnd(width)}  ${count.toLocaleString('en').padStart(9)}  ${meaning}`
  })
  return [...lines, ...(types.length > shownMax ? [`  and ${types.length - shownMax} more types`] : [])].join('\n')
}

/** `events.types` as YAML, a comment for each. */
export function typesYaml(types: readonly SeenType[], textOf: (text: string) => string): string {
  const lines = types.slice(0, shownMax).map(({ type, count, weight }) => {
    const events = `${count.toLocaleString('en')} events seen`
    return weight === undefined
      ? `    # ${textOf(type)}: 1  # ${events}; ignored until it has a weight`
      : `    ${textOf(type)}: ${weight}  # ${events}`
  })
  const all = types.every(({ weight }) => weight === undefined)
  return [
    'events:',
    '  # Weights in training; 0 keeps a type in histories without training on it.',
    `  types:${all ? ' {}' : ''}`,
    ...lines
  ].join('\n')
}
