import { resolveConfig } from '../../../src/core/config/config.ts'
import { valueRules } from '../../../src/records/value/valueRules.ts'

/** As without configuration. */
export const rules = valueRules(resolveConfig(undefined, {}).events)
