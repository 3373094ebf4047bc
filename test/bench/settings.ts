// `--set section.key=value` of the benchmarks: as in a configuration file.

/** @param defaults settings by section, which those given go before */
export function settingsOf(
  given: readonly string[],
  defaults: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {}
): Record<string, Record<string, unknown>> {
  const settings: Record<string, Record<string, unknown>> = Object.fromEntries(
    Object.entries(defaults).map(([section, values]) => [section, { ...values }])
  )
  for (const setting of given) {
    const [key, text] = setting.split('=') as [string, string]
    const [section, ...path] = key.split('.') as [string, ...string[]]
    const value: unknown = /^(true|false|-?[\d.]+(e-?\d+)?|[{[].*)$/.test(text)
      ? JSON.parse(text.replace(/^(-?)\./, '$10.'))
      : text
    const inner = path.reduceRight<unknown>((nested, name) => ({ [name]: nested }), value) as Record<string, unknown>
    settings[section] = { ...settings[section], ...inner }
  }
  return settings
}
