// Which texts stand for "no value", and which times are too early to be events: the same for files and for topics.

export interface ValueRules {
  /** Lower case. */
  readonly nullTexts: ReadonlySet<string>
  /** An event time before this is one in the wrong unit or form. Milliseconds since the Unix epoch. */
  readonly earliestMs: number
}

/** A time before this year was written in another unit or form. */
const earliestYear = 1990

/** @param options `events` of the configuration */
export function valueRules(options: {
  readonly nullTexts: readonly string[]
  readonly earliestYear?: number
}): ValueRules {
  return {
    nullTexts: new Set(['', ...options.nullTexts.map((text) => text.trim().toLowerCase())]),
    earliestMs: Date.UTC(options.earliestYear ?? earliestYear, 0, 1)
  }
}

/** Longer texts are looked up in vain. */
const nullTextCharsMax = 64

/** The text without white space around it; undefined where it stands for no value. */
export function cleanText(text: string, rules: ValueRules): string | undefined {
  const trimmed = text.trim()
  return trimmed.length <= nullTextCharsMax && rules.nullTexts.has(trimmed.toLowerCase()) ? undefined : trimmed
}
