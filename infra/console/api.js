// Requests to the service. An error has a `message`, and the HTTP status in `status`; 0: no answer.

/** The token, where the service needs one: kept as long as this tab is open. */
export const setToken = (token) => sessionStorage.setItem('token', token)

export async function ask(path, options = {}) {
  const token = sessionStorage.getItem('token')
  const headers = { ...options.headers, ...(token === null ? {} : { authorization: `Bearer ${token}` }) }
  let response
  try {
    response = await fetch(path, { ...options, headers, signal: options.signal ?? AbortSignal.timeout(15_000) })
  } catch (error) {
    if (options.signal?.aborted) throw error
    throw Object.assign(new Error('The service does not answer.'), { status: 0 })
  }
  const body = await response.json().catch(() => ({}))
  if (response.ok) return body
  throw Object.assign(new Error(body.detail ?? `The service answered ${response.status}.`), { status: response.status })
}

/** undefined where there is no such thing. */
export async function askFor(path, options) {
  try {
    return await ask(path, options)
  } catch (error) {
    if (error.status === 404) return undefined
    throw error
  }
}

export const user = (id) => askFor(`/v1/users/${encodeURIComponent(id)}?map=true&nearest=6`)
export const userBriefly = (id) => askFor(`/v1/users/${encodeURIComponent(id)}?nearest=1`)
export const recommendations = (id) => ask(`/v1/users/${encodeURIComponent(id)}/recommendations?limit=10&explain=true`)
/** @param options parameters of a list, such as `diversity` and `filter.genre` */
const list = (path, options) => ask(`${path}?${new URLSearchParams({ limit: 10, ...options })}`)
export const listFor = (id, options) => list(`/v1/users/${encodeURIComponent(id)}/recommendations`, options)
export const listLike = (id, options) => list(`/v1/items/${encodeURIComponent(id)}/similar`, options)
export const listPopular = (options) => list('/v1/popular', options)
export const attribution = (variant) =>
  ask(`/v1/attribution${variant === '' ? '' : `?variant=${encodeURIComponent(variant)}`}`)
export const versions = () => ask('/v1/versions')
export const item = (id) => askFor(`/v1/items/${encodeURIComponent(id)}`)
export const similar = (id) => ask(`/v1/items/${encodeURIComponent(id)}/similar?limit=12`)
export const users = (prefix, signal) => ask(`/v1/users?limit=30&prefix=${encodeURIComponent(prefix)}`, { signal })
export const items = (text, signal) => ask(`/v1/items?limit=30&text=${encodeURIComponent(text)}`, { signal })
export const deadLetters = (topic, reason) =>
  ask(
    `/v1/dead-letters${topic === '' ? '' : `?${new URLSearchParams({ topic, ...(reason === '' ? {} : { reason }) })}`}`
  )
const send = (path, body) =>
  ask(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
export const replayDeadLetters = (topic, reason) =>
  send('/v1/dead-letters', { topic, ...(reason === '' ? {} : { reason }) })
export const post = (event) => send('/v1/events', event)
