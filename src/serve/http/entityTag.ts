// `ETag` and `If-None-Match` (RFC 9110, 8.8.3 and 13.1.2). The list is made all the same: a 304 saves its transfer.

import { createHash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'

export const ifNoneMatch = {
  type: 'object',
  properties: {
    'if-none-match': { type: 'string', description: '`ETag` of the answer that the client has; several by commas' }
  }
}

export const entityTagHeader = {
  ETag: { schema: { type: 'string' }, description: 'Strong: of the bytes of the answer' }
}

/** Hook of routes that answer lists. After that of the compression: each encoding has its own tag. */
export async function tagAnswer(request: FastifyRequest, reply: FastifyReply, body: unknown): Promise<unknown> {
  if (reply.statusCode !== 200 || !(typeof body === 'string' || Buffer.isBuffer(body))) return body
  // 128 bits: two answers of the same tag are not met.
  const tag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
  // The client's own cache may keep the answer, and must ask whether it still holds.
  reply.header('etag', tag).header('cache-control', 'private, no-cache')
  if (!matches(request.headers['if-none-match'], tag)) return body
  reply.code(304)
  for (const name of ['content-type', 'content-encoding']) reply.removeHeader(name)
  return null
}

/** By the weak comparison: a proxy that compresses makes the tag a weak one. */
function matches(header: string | undefined, tag: string): boolean {
  if (header === undefined) return false
  return header.split(',').some((one) => ['*', tag].includes(one.trim().replace(/^W\//, '')))
}
