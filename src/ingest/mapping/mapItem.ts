// A record of a catalogue topic → an item, as the configuration says.

import type { SourceOptions } from '../../core/config/sources.ts'
import { BadEventError } from '../../core/errors.ts'
import type { FieldPath } from '../../core/fieldPath.ts'
import { admit, featureValuesMax, idProblem, itemProblem } from '../../records/admission.ts'
import { availabilityMs, availabilityOf, type CatalogueItem } from '../../records/catalogueItem.ts'
import type { ItemId } from '../../records/interaction.ts'
import { cleanText, type ValueRules } from '../../records/value/valueRules.ts'
import { changeOf } from './envelope.ts'
import type { ForeignRecord } from './foreignRecord.ts'
import { compileTime } from './mapTime.ts'
import {
  type Fields,
  ofElement,
  parseFields,
  readField,
  readRequiredText,
  readText,
  scalarText,
  shown
} from './readField.ts'
import { compileFilters, compileTests } from './sourceFilter.ts'

/** An item as it is now, or that it is gone. */
export type ItemChange = { readonly itemId: ItemId; readonly item: CatalogueItem | null }

/** @throws BadEventError saying which path, and what was found there, or why the item may not be used */
type ItemMapper = (foreign: ForeignRecord) => ItemChange | 'filtered'

/**
 * A record deletes its item if it has no value, if a test of `deleted` is met, or if it is the envelope of a deleted
 * row. The item of a record without a value is where `item` says if that is the key or a header, and otherwise in the
 * key.
 *
 * @param source of kind items, as the configuration's schema has checked it
 */
export function compileItemMapper(source: SourceOptions, rules: ValueRules): ItemMapper {
  const passes = compileFilters(source.filter)
  const item = parseFields(source.item!)
  const outside = item.filter(({ kind }) => kind === 'key' || kind === 'header')
  const deletes = compileTests(source.deleted)
  const title = source.title === undefined ? undefined : parseFields(source.title)
  const availability = (['availableFrom', 'availableUntil'] as const).map((role) => ({
    ...{ role, fields: parseFields(source[role] ?? []) }
  }))
  const features = Object.entries(source.features).map(([name, { path, split }]) => ({
    name,
    fields: parseFields(path),
    split
  }))
  const time = compileTime(source.time ?? { path: ['log:time'] }, rules)
  return (foreign) => {
    if (foreign.value === undefined) {
      const itemId =
        outside.length > 0 ? readRequiredText(outside, foreign, 'item', rules) : keyId(foreign, item, rules)
      admit(idProblem('item', itemId))
      return { itemId, item: null }
    }
    const change = changeOf(foreign.value)
    if (change === 'other' || !passes(foreign)) return 'filtered'
    const itemId = readRequiredText(ofElement(item, foreign), foreign, 'item', rules)
    if (change === 'delete' || deletes.some((isMet) => isMet(foreign))) {
      admit(idProblem('item', itemId))
      return { itemId, item: null }
    }
    const values: [string, string[]][] = []
    for (const { name, fields, split } of features) {
      const found = readValues(fields, foreign, `features.${name}`, split, rules)
      if (found.length > 0) values.push([name, found])
    }
    const name = title === undefined ? undefined : readText(title, foreign, 'title', rules)
    const [availableFromMs, availableUntilMs] = availability.map(({ role, fields }) => {
      const text = readText(fields, foreign, role, rules)
      return text === undefined ? undefined : availabilityMs(role, text)
    })
    const window = availabilityOf({ availableFromMs, availableUntilMs })
    const described = { itemId, features: Object.fromEntries(values), updatedAtMs: time(foreign), ...window }
    const read = name === undefined ? described : { ...described, title: name }
    admit(itemProblem(read))
    return { itemId, item: read }
  }
}

/**
 * The id that a key holds when no path says where: the key itself, or its only field if that has the name of an item's
 * field in the value, as keys of Debezium have.
 */
function keyId(foreign: ForeignRecord, item: Fields, rules: ValueRules): string {
  const found = foreign.key?.()
  if (typeof found !== 'object' || found === null) return readRequiredText(parseFields(['key']), foreign, 'item', rules)
  const { payload } = found as { readonly payload?: unknown }
  const [key, prefix] = typeof payload === 'object' && payload !== null ? [payload, 'key.payload'] : [found, 'key']
  const names = Object.keys(key)
  const itemNames = item.map((path) => ('steps' in path ? path.steps.at(-1) : undefined))
  if (names.length === 1 && itemNames.includes(names[0]!)) {
    return readRequiredText(parseFields([`${prefix}[${JSON.stringify(names[0])}]`]), foreign, 'item', rules)
  }
  throw new BadEventError(
    `the record deletes an item, and its key is ${shown(key)}: name the id in it, such as item: [${item[0]!.text}, ${prefix}.${names[0] ?? 'id'}]`
  )
}

/** The scalars of a list, or one scalar, taken apart where `split` says so; each once. */
function readValues(
  fields: Fields,
  foreign: ForeignRecord,
  role: string,
  split: string | undefined,
  rules: ValueRules
): string[] {
  for (const path of fields) {
    const found = readField(path, foreign)
    if (found === undefined) continue
    const list = (Array.isArray(found) ? found : [found]).filter((value) => value !== null && value !== undefined)
    const texts = list
      .flatMap((value) => parts(value, path, role, split))
      .map((text) => (path.kind === 'constant' ? text : cleanText(text, rules)))
      .filter((text) => text !== undefined)
    if (texts.length > featureValuesMax) {
      throw new BadEventError(
        `${role} (${path.text}) has ${texts.length} values: at most ${featureValuesMax} are allowed`
      )
    }
    if (texts.length > 0) return [...new Set(texts)]
  }
  return []
}

function parts(value: unknown, path: FieldPath, role: string, split: string | undefined): string[] {
  const text = scalarText(value, path, role)
  return split === undefined ? [text] : text.split(split)
}
