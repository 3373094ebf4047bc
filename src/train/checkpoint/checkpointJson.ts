// JSON that comes back as it went in (but for −0, which becomes 0), or not at all.

/**
 * As `JSON.stringify`, but what JSON would silently change is refused.
 *
 * @throws TypeError for NaN, infinities, bigints, functions, Maps, Sets, typed arrays, and undefined within lists
 */
export function jsonOf(value: unknown): string {
  check(value, 'header')
  return JSON.stringify(value)
}

function check(value: unknown, at: string): void {
  const refuse = (what: string): never => {
    throw new TypeError(`${at} is ${what}: JSON cannot hold it; use a string or a plain object`)
  }
  switch (typeof value) {
    case 'number':
      if (!Number.isFinite(value)) refuse(String(value))
      return
    case 'bigint':
    case 'function':
    case 'symbol':
      refuse(`a ${typeof value}`)
      return
    case 'undefined':
      if (at.endsWith(']')) refuse('undefined')
      return
    case 'object': {
      if (value === null) return
      if (Array.isArray(value)) {
        for (const [i, inner] of value.entries()) check(inner, `${at}[${i}]`)
        return
      }
      const prototype = Object.getPrototypeOf(value) as unknown
      if (prototype !== Object.prototype && prototype !== null) refuse(`a ${value.constructor.name}`)
      for (const [key, inner] of Object.entries(value)) check(inner, `${at}.${key}`)
    }
  }
}
