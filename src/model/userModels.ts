// The user models by name: MTMI, and those for comparison once src/lab/models/comparisonModels.ts has been imported.

import type { ModelOptions } from '../core/config/modelOptions.ts'
import { ConfigError } from '../core/errors.ts'
import { mtmi } from './mtmi.ts'
import type { ModelShape, UserModel } from './userModel.ts'

export type MakeUserModel = (shape: ModelShape, options: ModelOptions) => UserModel

const models = new Map<string, MakeUserModel>([['mtmi', mtmi]])

/** Adds models to this thread, under the names that `model.name` gives them. */
export function addUserModels(added: Readonly<Partial<Record<ModelOptions['name'], MakeUserModel>>>): void {
  for (const [name, make] of Object.entries(added)) models.set(name, make)
}

/** @throws ConfigError for a name that nothing has added */
export function userModelOf(name: string): MakeUserModel {
  const make = models.get(name)
  if (make === undefined)
    throw new ConfigError([
      `model.name ${name} is a model for comparison, and this program has only ${[...models.keys()].join(', ')}`
    ])
  return make
}
