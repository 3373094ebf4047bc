import type { ModelOptions } from '../base/modelOptions.ts'
import { comirecDr } from './comirecDr.ts'
import { comirecSa } from './comirecSa.ts'
import { mind } from './mind.ts'
import { mtmi, oneVector } from './mtmi.ts'
import { transformer } from './transformer.ts'
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
