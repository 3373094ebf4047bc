// Between what things are and the bytes they travel as. `event` defines it, `io` implements it.

export interface Codec<T> {
  encode(value: T): Uint8Array
  /**
   * Reads a record of this or an older writer's schema, and checks it (`admission.ts`): what it returns may be relied
   * on. @throws BadEventError with what is wrong.
   */
  decode(bytes: Uint8Array): T
}
