import type { ModelOptions } from '../core/config/modelOptions.ts'
import { comirecDr } from '../lab/models/comirecDr.ts'
import { comirecSa } from '../lab/models/comirecSa.ts'
import { mind } from '../lab/models/mind.ts'
import { transformer } from '../lab/models/transformer.ts'
import { mtmi, oneVector } from './mtmi.ts'
import type { ModelShape, UserModel } from './userModel.ts'

/** Every user model by the name that `model.name` gives it. */
export const userModels: Readonly<Record<ModelOptions['name'], (shape: ModelShape, options: ModelOptions) => UserModel>> = {
  mtmi,
  mind,
  'comirec-dr': comirecDr,
  'comirec-sa': comirecSa,
  'one-vector': oneVector,
  transformer,
  'mtmi-transformer': transformer
}
