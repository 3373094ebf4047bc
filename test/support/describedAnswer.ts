// Whether an answer is what the OpenAPI description of the service says.

import assert from 'node:assert/strict'
import { Ajv } from 'ajv'
import type { LightMyRequestResponse } from 'fastify'

type Operations = Readonly<Record<string, { readonly responses: Readonly<Record<string, Content | undefined>> }>>
interface Content {
  readonly content?: Readonly<Record<string, unknown>>
}

/** @param page the description @param path of the description: `/v1/users/{id}` @returns the body of the answer */
export function describedAnswer(
  page: { readonly paths: Readonly<Record<string, Operations>> },
  response: LightMyRequestResponse,
  path: string,
  method = 'get'
) {
  const type = String(response.headers['content-type']).split(';')[0]!
  const content = page.paths[path]?.[method]?.responses[response.statusCode]?.content
  assert(content?.[type] !== undefined, `${response.statusCode} ${type} of ${method} ${path} is not described`)
  const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false })
  ajv.addSchema({ ...page, $id: 'page' })
  const pointer = ['paths', path, method, 'responses', response.statusCode, 'content', type, 'schema']
    .map((part) => String(part).replaceAll('~', '~0').replaceAll('/', '~1'))
    .join('/')
  const body = type === 'text/plain' ? response.body : response.json()
  assert(ajv.validate({ $ref: `page#/${pointer}` }, body), `${path}: ${ajv.errorsText()}\n${response.body}`)
  return body
}
