// Whether an answer is what our OpenAPI description says of it.

export type Schema = Readonly<Record<string, unknown>>

/** Where a value is not what a schema says, for the words of JSON Schema that the description of our answers uses. */
export function mismatches(
  value: unknown,
  schema: Schema,
  named: Readonly<Record<string, Schema>>,
  at = '$'
): string[] {
  if (typeof schema.$ref === 'string') return mismatches(value, named[schema.$ref.split('/').at(-1)!]!, named, at)
  if ('const' in schema) return value === schema.const ? [] : [`${at} is not ${String(schema.const)}`]
  const types = [schema.type].flat()
  const type = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value
  if (!types.includes(type) && !(types.includes('integer') && Number.isInteger(value)))
    return [`${at} is ${type}, not ${types.join(' or ')}`]
  if (
    typeof value === 'number' &&
    (value < Number(schema.minimum ?? -Infinity) || value > Number(schema.maximum ?? Infinity))
  )
    return [`${at} is ${value}`]
  if (Array.isArray(value))
    return value.flatMap((item, i) => mismatches(item, schema.items as Schema, named, `${at}[${i}]`))
  if (type !== 'object' || schema.properties === undefined) return []
  const properties = schema.properties as Record<string, Schema>
  const missing = (schema.required as string[])
    .filter((name) => !(name in (value as object)))
    .map((name) => `${at}.${name} is missing`)
  return Object.entries(value as object).reduce(
    (found, [name, part]) =>
      found.concat(
        properties[name] === undefined
          ? `${at}.${name} is unknown`
          : mismatches(part, properties[name], named, `${at}.${name}`)
      ),
    missing
  )
}
