// The console: which page is shown, and the state of the service, requested every second.

import { ask, setToken } from './api.js'
import { browseItems, browseUsers } from './browse.js'
import { h } from './dom.js'
import { experimentsPage } from './experiments.js'
import { itemPage } from './item.js'
import { overview } from './overview.js'
import { recordsPage } from './records.js'
import { userPage } from './user.js'

const pollMs = 1000
/** Window of rates: shorter ones jump, longer ones lag. */
const rateMs = 5000

const main = document.getElementById('main')
const state = document.getElementById('state')
const banner = document.getElementById('banner')
const tokenForm = document.getElementById('token')
const tokenText = document.getElementById('token-text')

/** Shared by pages: the newest status, and earlier ones as far as rates need them. */
const shared = { status: undefined, earlier: undefined, statuses: [] }
let page
let lostMs = 0

function route() {
  const [, name = '', ...rest] = location.hash.split('?')[0].split('/')
  let id = rest.join('/')
  try {
    id = decodeURIComponent(id)
  } catch {
    // as it stands
  }
  page?.close?.()
  const [make, current] = {
    users: [browseUsers, '#/users'],
    user: [userPage, '#/users'],
    items: [browseItems, '#/items'],
    item: [itemPage, '#/items'],
    experiments: [experimentsPage, '#/experiments'],
    records: [recordsPage, '#/records']
  }[name] ?? [overview, '#/']
  for (const link of document.querySelectorAll('nav a')) {
    if (link.getAttribute('href') === current) link.setAttribute('aria-current', 'page')
    else link.removeAttribute('aria-current')
  }
  const content = h('div')
  main.replaceChildren(content)
  page = make(content, id, shared)
  document.title = page.title === undefined ? 'MTMI Stream' : `${page.title} · MTMI Stream`
  page.update?.(shared)
}

async function poll() {
  if (!document.hidden) {
    try {
      const status = await ask('/v1/status')
      shared.statuses = [
        ...shared.statuses.filter(({ nowMs }) => status.nowMs - nowMs <= rateMs && nowMs < status.nowMs),
        status
      ]
      shared.earlier = shared.statuses.length > 1 ? shared.statuses[0] : undefined
      shared.status = status
      lostMs = 0
      banner.hidden = true
      tokenForm.hidden = true
      state.textContent = status.ready ? `Ready · ${status.detail}` : `Not ready · ${status.detail}`
      state.title = state.textContent
      state.className = `state ${status.ready ? 'ready' : 'waits'}`
      page?.update?.(shared)
    } catch (error) {
      const denied = error.status === 401 || error.status === 403
      if (denied && tokenForm.hidden) {
        tokenForm.hidden = false
        tokenText.focus()
      }
      if (lostMs === 0) lostMs = Date.now()
      const words = denied
        ? `Not shown: ${error.message}.`
        : `${error.message} Last answer at ${new Date(lostMs).toLocaleTimeString('en-GB')}; retrying every second.`
      if (banner.textContent !== words) banner.textContent = words
      banner.hidden = false
      state.textContent = 'No answer'
      state.className = 'state away'
    }
  }
  setTimeout(poll, pollMs)
}

const themes = { auto: 'Theme: auto', light: 'Theme: light', dark: 'Theme: dark' }
const button = document.getElementById('theme')
function theme(name) {
  if (name === 'auto') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = name
  button.textContent = themes[name]
  localStorage.setItem('theme', name)
}
theme(themes[localStorage.getItem('theme')] === undefined ? 'auto' : localStorage.getItem('theme'))
button.addEventListener('click', () => {
  const names = Object.keys(themes)
  theme(names[(names.indexOf(localStorage.getItem('theme')) + 1) % names.length])
})

tokenForm.addEventListener('submit', (event) => {
  event.preventDefault()
  setToken(tokenText.value.trim())
  tokenText.value = ''
  tokenForm.hidden = true
  route() // with the requests that were denied before
})

document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault()
  main.focus()
})
addEventListener('hashchange', () => {
  route()
  scrollTo(0, 0)
  main.focus({ preventScroll: true }) // where keyboards and screen readers continue
})
document.addEventListener('visibilitychange', () => {
  shared.statuses = [] // no rate across a pause
})
route()
poll()
