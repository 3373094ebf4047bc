// Strings that many steps share, as small numbers in order of first sight.

export class StringIndex {
  readonly #strings: string[] = []
  readonly #indexes = new Map<string, number>()

  /** The string's index; a new one gets the next. */
  add(text: string): number {
    return this.#indexes.get(text) ?? this.append(text)
  }

  /**
   * Gives the next index whether or not the string has one: for what was stored, whose indexes must not shift even if
   * two strings were stored as the same bytes.
   */
  append(text: string): number {
    const index = this.#strings.length
    this.#strings.push(text)
    this.#indexes.set(text, index)
    return index
  }

  /** undefined for an index never given out. */
  at(index: number): string | undefined {
    return this.#strings[index]
  }

  get size(): number {
    return this.#strings.length
  }
}

/**
 * What packed windows refer to. Only grows: it is stored with the windows, and as many items as were ever seen stay in
 * it (and in memory).
 */
export interface StepDictionary {
  readonly items: StringIndex
  readonly types: StringIndex
}

export function newStepDictionary(): StepDictionary {
  return { items: new StringIndex(), types: new StringIndex() }
}
