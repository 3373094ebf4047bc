// Every model that MTMI is compared with, and MTMI with the options that only studies vary. Importing this file adds
// them to the models of the thread: `mtmi evaluate`, `study` and `tune` do, and the thread of the stream where the
// configured model needs it.

import type { ModelOptions } from '../../core/config/modelOptions.ts'
import { addLabModels } from '../../model/model.ts'
import type { ModelShape } from '../../model/userModel.ts'
import { comirecDr } from './comirecDr.ts'
import { comirecSa } from './comirecSa.ts'
import { type ComparedModel, withLoss } from './comparisonLoss.ts'
import { mind } from './mind.ts'
import { mtmiVariant, oneVector } from './mtmiVariants.ts'

/** Every user model by the name that `model.name` gives it, MTMI first. */
export const comparedModels: Readonly<
  Record<ModelOptions['name'], (shape: ModelShape, options: ModelOptions) => ComparedModel>
> = {
  mtmi: mtmiVariant,
  mind,
  'comirec-dr': comirecDr,
  'comirec-sa': comirecSa,
  'one-vector': oneVector
}

addLabModels((shape, options) => withLoss(comparedModels[options.name](shape, options), options))
