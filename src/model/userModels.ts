import type { ModelOptions } from '../base/modelOptions.ts'
import { mtmi } from './mtmi.ts'
import type { ModelShape, UserModel } from './userModel.ts'

/** Every user model by the name that `model.name` gives it. */
export const userModels: Readonly<Record<ModelOptions['name'], (shape: ModelShape, options: ModelOptions) => UserModel>> = { mtmi }
