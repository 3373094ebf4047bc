// What a secret is, and how it is masked, everywhere: in logs, error messages and `mtmi config`.

const hidden = '***'

/** Whether the value of a setting with this name must never be printed. The name of a file that holds a secret may. */
export function isSecretName(name: string): boolean {
  return (
    /password|passphrase|secret|token|apiKey|api_key|credential|privateKey/i.test(name) && !/File$|_FILE$/.test(name)
  )
}

/** A copy with `***` for values under secret names, at any depth, and passwords in URLs. An empty one stays empty. */
export function withoutSecrets<T>(value: T, name = ''): T {
  return masked(value, name) as T
}

function masked(value: unknown, name: string): unknown {
  if (value === '' || value === null || value === undefined) return value
  if (Array.isArray(value)) return value.map((inner) => masked(inner, name))
  if (typeof value === 'object')
    return Object.fromEntries(
      Object.entries(value).map(([key, inner]) => [key, masked(inner, isSecretName(name) ? name : key)])
    )
  if (isSecretName(name)) return hidden
  return typeof value === 'string' ? value.replace(/(\/\/[^/:@\s]*:)[^/@\s]*@/g, `$1${hidden}@`) : value
}
