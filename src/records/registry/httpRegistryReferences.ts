// One schema from several: the named types that it refers to, in the registry's other subjects, written where they are
// first mentioned.

type Schema = unknown
interface Named {
  readonly type: string
  readonly name: string
  readonly namespace?: string
  readonly fields?: readonly { readonly type: Schema }[]
}

const primitives = new Set(['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string'])

/**
 * @param schema parsed JSON
 * @param definitions parsed schemas by the full name of what they define
 */
export function inlineReferences(schema: Schema, definitions: ReadonlyMap<string, Schema>): Schema {
  return inline(schema, '', definitions, new Set())
}

/** The full name of the type that a schema defines; none where it defines none. */
export function definedNames(schema: Schema): string[] {
  if (typeof schema !== 'object' || schema === null || !('name' in schema)) return []
  const named = schema as Named
  const space = namespaceOf(named, '')
  return [named.name.includes('.') || space === '' ? named.name : `${space}.${named.name}`]
}

function inline(
  schema: Schema,
  namespace: string,
  definitions: ReadonlyMap<string, Schema>,
  defined: Set<string>
): Schema {
  if (typeof schema === 'string') return mention(schema, namespace, definitions, defined)
  if (Array.isArray(schema)) return schema.map((branch) => inline(branch, namespace, definitions, defined))
  if (typeof schema !== 'object' || schema === null) return schema
  const { type } = schema as { type?: unknown }
  if (type === 'record' || type === 'error' || type === 'enum' || type === 'fixed') {
    const named = schema as Named
    const own = namespaceOf(named, namespace)
    const name = named.name.slice(named.name.lastIndexOf('.') + 1)
    defined.add(own === '' ? name : `${own}.${name}`)
    if (named.fields === undefined) return schema
    return {
      ...named,
      fields: named.fields.map((field) => ({ ...field, type: inline(field.type, own, definitions, defined) }))
    }
  }
  const { items, values } = schema as { items?: Schema; values?: Schema }
  if (type === 'array') return { ...schema, items: inline(items, namespace, definitions, defined) }
  if (type === 'map') return { ...schema, values: inline(values, namespace, definitions, defined) }
  return { ...schema, type: inline(type, namespace, definitions, defined) }
}

function mention(
  name: string,
  namespace: string,
  definitions: ReadonlyMap<string, Schema>,
  defined: Set<string>
): Schema {
  if (primitives.has(name)) return name
  const candidates = name.includes('.') || namespace === '' ? [name] : [`${namespace}.${name}`, name]
  for (const full of candidates) {
    if (defined.has(full)) return full
    const definition = definitions.get(full)
    if (definition === undefined) continue
    // Said explicitly: where it is written now, another namespace may hold.
    const explicit =
      typeof definition === 'object' && definition !== null && 'name' in definition
        ? { ...definition, namespace: namespaceOf(definition as Named, '') }
        : definition
    return inline(explicit, '', definitions, defined)
  }
  return name
}

function namespaceOf({ name, namespace }: Named, enclosing: string): string {
  return name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : (namespace ?? enclosing)
}
