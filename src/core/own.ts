// The one way to read and write a plain object by a name that is not known in advance: an event's type, a field of
// JSON, a header.
//
// `record[name]` also finds what every object inherits (`constructor`, `toString`), and assigning to `__proto__`
// replaces the prototype. The lint rule `mtmi/own-property` forbids both wherever the name is a string.

/** The object's own value by that name; undefined where it has none. */
export function own<T>(record: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined
}

/** Makes it the object's own value by that name, whatever the name. */
export function setOwn<T>(record: Record<string, T>, name: string, value: T): void {
  if (name in record && !Object.hasOwn(record, name))
    Object.defineProperty(record, name, { value, writable: true, enumerable: true, configurable: true })
  else record[name] = value
}
