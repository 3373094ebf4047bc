// Every model that MTMI is compared with. Importing this file adds them to the user models of the thread: `mtmi
// evaluate`, `study` and `tune` do, and the thread of the stream where `model.name` is one of them.

import { mtmi, oneVector } from '../../model/mtmi.ts'
import { addUserModels } from '../../model/userModels.ts'
import { comirecDr } from './comirecDr.ts'
import { comirecSa } from './comirecSa.ts'
import { mind } from './mind.ts'
import { transformer } from './transformer.ts'

const comparisonModels = {
  mind,
  'comirec-dr': comirecDr,
  'comirec-sa': comirecSa,
  'one-vector': oneVector,
  transformer,
  'mtmi-transformer': transformer
}

/** Every user model by the name that `model.name` gives it, MTMI first. */
export const userModels = { mtmi, ...comparisonModels }

addUserModels(comparisonModels)
