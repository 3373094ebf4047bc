// The console in a real Chromium, on a real pipeline: `npm run test:console`. CONSOLE_SHOTS names a folder that keeps
// the pictures.

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { type BrowserContext, chromium, type Page } from 'playwright-core'
import type { ServiceStatus, VersionNumbers } from '../../src/serve/answers.ts'
import { MtmiProcess } from '../support/mtmiProcess.ts'

const names = ['chromium', 'chromium-browser', 'google-chrome']
const executablePath = names
  .flatMap((name) => (process.env.PATH ?? '').split(':').map((folder) => path.join(folder, name)))
  .find((file) => existsSync(file))
const skip =
  executablePath === undefined && 'THERE IS NO CHROMIUM, so nobody has looked at the console: apt-get install chromium'

let folder: string
let shots: string
let service: MtmiProcess
let base: string
let browser: BrowserContext

before(async () => {
  if (executablePath === undefined) return
  folder = await mkdtemp(path.join(os.tmpdir(), 'mtmi-console-'))
  shots = process.env.CONSOLE_SHOTS ?? path.join(folder, 'shots')
  await mkdir(shots, { recursive: true })
  const dataDir = path.join(folder, 'data')
  service = new MtmiProcess(['--data-dir', dataDir, 'start', '--events', '4000', '--port', '0'], { cwd: folder })
  browser = await chromium.launchPersistentContext(path.join(folder, 'profile'), {
    executablePath,
    headless: true,
    viewport: { width: 1280, height: 860 },
    colorScheme: 'light',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync'
    ]
  })
  base = (await service.says(/Serving on (http:\S+)/))[1]!
})

after(async () => {
  await browser?.close()
  await service?.stop('SIGTERM')
  if (folder !== undefined) await rm(folder, { recursive: true, force: true })
})

/** A tab on `hash`. What the browser complains about, refused scripts and styles included, is in `complaints`. */
async function open(hash: string): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage()
  const complaints: string[] = []
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== base) complaints.push(`asked another host: ${request.url()}`)
  })
  await page.goto(`${base}/${hash}`)
  return { page, complaints }
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What axe-core finds wrong with a page, of WCAG and of good practice. */
async function barriers(page: Page): Promise<unknown> {
  await page.evaluate(axe)
  return page.evaluate(
    'axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes.map(({ target }) => target.join(" "))]))'
  )
}

const shoot = (page: Page, name: string) => page.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true })

async function ask<T>(route: string): Promise<T> {
  const response = await fetch(base + route)
  assert.equal(response.status, 200, route)
  return (await response.json()) as T
}

/** A user with some history. */
async function someUser(): Promise<string> {
  const { users } = await ask<{ users: { userId: string; historyLength: number }[] }>('/v1/users?limit=100')
  return users.find(({ historyLength }) => historyLength >= 5)!.userId
}

const listed = (page: Page) =>
  page.locator('#list > li').evaluateAll((rows) => rows.map((row) => row.getAttribute('data-item')))
const whole = (n: number) => n.toLocaleString('en')

test('the overview shows what /v1/status tells', { skip }, async () => {
  const { page, complaints } = await open('#/')
  await page.locator('.flow li').nth(4).waitFor()
  const status = await ask<ServiceStatus>('/v1/status')
  const { records = [], training, index, users, freshnessMs } = status
  const events = records.find(({ reader }) => reader === 'sequence')
  assert(events !== undefined && training !== undefined && index !== null && freshnessMs !== undefined)
  const flow = await page.locator('.flow .big').allInnerTexts()
  assert.deepEqual(flow.slice(0, 4), [events.read, users!, training.examplesTrained, index.items].map(whole))
  // A stage may be at its last records when the page opens: the page is asked again until all have caught up, or it
  // times out.
  await page.locator('.flow .lag', { hasText: 'no lag' }).nth(2).waitFor()
  const pairs = Object.fromEntries(
    await page
      .locator('.pairs > div')
      .evaluateAll((rows) => rows.map((row) => [...row.children].map((part) => part.textContent ?? '')))
  )
  for (const { reader, text } of records.filter(({ reader }) => reader !== 'publish')) assert.equal(pairs[reader], text)
  assert.match(pairs.sequence!, /placed in a history, .* repeated, .* invalid/, 'the simulation has some of each')
  assert.equal(pairs.Version, `${index.indexVersion}@${index.step}`)
  assert.match(await page.locator('#drift').innerText(), /The reference is being gathered/) // five windows of 1,000 sessions, and this run has 4,000 events
  const tiles = await page.locator('.tile .value').allInnerTexts()
  assert.equal(tiles[0], training.recent.model.toFixed(3))
  assert.equal(tiles[2], training.intraUserCosine.toFixed(3))
  // The chart: three lines of as many points as the curve has, which a table repeats.
  for (const method of ['model', 'cooccurrence', 'popularity']) {
    const points = await page.locator(`polyline.${method}`).getAttribute('points')
    assert.equal(points?.split(' ').length, training.curve.length)
  }
  assert.equal(await page.locator('details tbody tr').count(), training.curve.length)
  assert.match(
    (await page.locator('.legend').innerText()).replace(/\s+/g, ' '),
    /Model 0\.\d{3} Co-occurrence 0\.\d{3} Popularity 0\.\d{3}/
  )
  // By keyboard: the cursor goes to the first point, and the legend tells its values.
  await page.locator('svg[tabindex]').focus()
  await page.keyboard.press('ArrowRight')
  assert.match(
    await page.locator('.legend .when').innerText(),
    new RegExp(`^at ${whole(training.curve[0]!.examples)} · `)
  )
  await page.keyboard.press('Escape')
  // Versions come by a question of their own.
  await page.locator('#versions tbody tr').first().waitFor()
  const { live, gates } = await ask<VersionNumbers>('/v1/versions')
  assert.equal(await page.locator('#versions dd').first().innerText(), live)
  assert(gates.length > 0, 'weights were published, and so had been tried')
  // A checkpoint may be written between the two queries: the page queries again every five seconds. `waitForFunction`
  // would evaluate a string in the page, which its policy refuses.
  const rowsAgree = async () => {
    const { gates, checkpoints } = await ask<VersionNumbers>('/v1/versions')
    return (await page.locator('#versions tbody tr').count()) === gates.length + checkpoints.length
  }
  for (let attempt = 0; !(await rowsAgree()); attempt++) {
    assert(attempt < 100, 'the rows of the page are those of /v1/versions')
    await page.waitForTimeout(200)
  }
  assert.match(await page.locator('#timeline').innerText(), /weights of step \d+ (accepted|refused|resumed)/)
  assert.deepEqual(await barriers(page), [])
  await shoot(page, 'overview')
  assert.deepEqual(complaints, [])
  await page.close()
})

test('a click is a real event, and the list follows it', { skip }, async () => {
  const userId = await someUser()
  const { page, complaints } = await open('#/')
  // The way a newcomer goes.
  await page.getByRole('link', { name: 'Users' }).click()
  await page.getByRole('link', { name: userId, exact: true }).click()
  await page.locator('#list').waitFor()
  assert.equal(await page.locator('h1').innerText(), userId)
  const earlier = await ask<{ historyLength: number; updatedAtMs: number }>(`/v1/users/${userId}`)
  const current = async () =>
    (
      await ask<{ items: { itemId: string; title: string; interest: number; because: string[] }[] }>(
        `/v1/users/${userId}/recommendations?limit=10&explain=true`
      )
    ).items
  let items = await current()
  // The sweep after new weights may have come between: then the page is asked to look again.
  for (let look = 0; look < 5 && String(await listed(page)) !== String(items.map(({ itemId }) => itemId)); look++) {
    await page.reload()
    await page.locator('#list').waitFor()
    items = await current()
  }
  assert.deepEqual(
    await listed(page),
    items.map(({ itemId }) => itemId)
  )
  assert.deepEqual(
    await page.locator('#list .badge').allInnerTexts(),
    items.map(({ interest }) => String(interest + 1))
  )
  if (items.some(({ because }) => because.length > 0))
    assert.match(await page.locator('#list').innerText(), /because of /)
  assert.equal(await page.locator('.interests > section').count(), 4)
  assert.equal(await page.locator('.map .centre:not(.keys *)').count(), 4)
  await shoot(page, 'user')
  await page.locator('.map svg .past').first().hover({ force: true })
  assert.match(await page.locator('.tip').innerText(), /\(history\)$|^Interest \d$|#\d+$/)

  const clicked = items[1]!
  await page.getByRole('button', { name: `Click ${clicked.title} as ${userId}`, exact: true }).click()
  await page.locator('.said.done, .said.bad').waitFor({ timeout: 40_000 }) // words of a failure show themselves below
  assert.match(await page.locator('.said').innerText(), /^The list followed in \d+\.\d\d s: \d+ of 10 are new\.$/)
  assert(!(await listed(page)).includes(clicked.itemId), 'what was clicked is history now')
  const later = await ask<{ historyLength: number; updatedAtMs: number; history: { itemId: string }[] }>(
    `/v1/users/${userId}`
  )
  assert.equal(later.history[0]?.itemId, clicked.itemId)
  assert.equal(later.historyLength, Math.min(50, earlier.historyLength + 1))
  assert(later.updatedAtMs > earlier.updatedAtMs)
  assert.equal((await ask<ServiceStatus>('/v1/status')).answers.events, 1)
  await shoot(page, 'user-clicked')
  assert.deepEqual(complaints, [])
  await page.close()
})

test('experiments: the click of the page is attributed, and what is chosen survives a reload', { skip }, async () => {
  type Attribution = { variants: { variant: string; lists: number; clickedLists: number }[] }
  const { page, complaints } = await open('#/experiments')
  await page.locator('tbody tr').first().waitFor()
  const { variants } = await ask<Attribution>('/v1/attribution')
  const [all] = variants.filter(({ variant }) => variant === 'default')
  assert(all !== undefined && all.clickedLists >= 1, JSON.stringify(variants))
  assert.deepEqual(await barriers(page), [])
  await page.getByLabel('Lists of').selectOption('default')
  await page.reload()
  await page.locator('tbody tr').first().waitFor()
  assert.equal(await page.getByLabel('Lists of').inputValue(), 'default')
  // The page is refreshed every five seconds: what was focused stays so.
  const table = page.locator('.across').first()
  await table.focus()
  await table.evaluate((element) => element.setAttribute('data-old', ''))
  await page.locator('[data-old]').waitFor({ state: 'detached' })
  assert.equal(await page.evaluate('document.activeElement === document.querySelector(".across")'), true)
  await shoot(page, 'experiments')
  assert.deepEqual(complaints, [])
  await page.close()
})

test('the playground compares methods under a filter, and counts nothing', { skip }, async () => {
  const userId = await someUser()
  const { page, complaints } = await open(`#/user/${userId}`)
  await page.locator('.three ol').nth(2).waitFor()
  const counted = async () => {
    const { variants } = await ask<{ variants: { variant: string; lists: number }[] }>('/v1/attribution')
    return variants.find(({ variant }) => variant === 'default')?.lists
  }
  assert.deepEqual(await page.locator('.interests .weak').count(), await page.getByText('little evidence').count())
  const before = await counted()
  await page.getByLabel('Filter: field').fill('category')
  await page.getByLabel('value', { exact: true }).fill('Music')
  await page.getByLabel('Diversity', { exact: true }).fill('0.5')
  await page
    .locator('.three .about', { hasNotText: /^Music/ })
    .first()
    .waitFor({ state: 'detached' })
  assert.match(page.url(), /\?diversity=0.5&.*field=category&is=Music/)
  assert.equal(await counted(), before)
  await page.reload()
  await page.locator('.three ol').nth(2).waitFor()
  assert.equal(await page.getByLabel('value', { exact: true }).inputValue(), 'Music')
  await page.getByLabel('Filter: field').fill('colour')
  await page.getByText('no item has a feature in the field "colour"').first().waitFor()
  await shoot(page, 'playground')
  assert(
    complaints.every((text) => text.includes('400')),
    String(complaints)
  )
  await page.close()
})

test('bad records: counted, shown with their bytes, and replayed after asking once more', { skip }, async () => {
  const { page, complaints } = await open('#/records')
  await page.locator('tbody tr').first().waitFor()
  const { topics } = await ask<{ topics: { topic: string; deadLetters: number }[] }>('/v1/dead-letters')
  assert.match(await page.locator('.facts').innerText(), /^\d+ dead-letter records? in \d topics?\.$/)
  assert.equal(await page.locator('section.card').count(), topics.length)
  await page.locator('button.click').first().click()
  await page.getByText('With the present configuration').waitFor()
  assert.match(await page.locator('pre').last().innerText(), /^000000 {2}[0-9a-f]{2} /)
  assert.deepEqual(await barriers(page), [])
  await shoot(page, 'records')
  await page.reload()
  await page.getByText('With the present configuration').waitFor()
  await page.getByRole('button', { name: 'Replay all of this reason' }).click()
  await page.getByRole('button', { name: 'append them to their topic again?' }).click()
  await page.getByText(/^\d+ records? appended again\./).waitFor()
  assert.deepEqual(complaints, [])
  await page.close()
})

test('a user never seen gets what is popular, and after one click a list of their own', { skip }, async () => {
  const { page, complaints } = await open('#/user/never%20seen')
  await page.getByText('One click is enough').waitFor()
  const before = await listed(page)
  assert.equal(before.length, 10)
  await shoot(page, 'user-cold')
  await page.locator('#list button').first().click()
  await page.locator('.said.done, .said.bad').waitFor({ timeout: 40_000 })
  assert.match(await page.locator('.said').innerText(), /^The list followed in /)
  assert.equal(await page.locator('.interests > section').count(), 4)
  assert.notDeepEqual(await listed(page), before)
  assert.deepEqual(complaints, [])
  await page.close()
})

test('items: found by a word of their title, with what is similar', { skip }, async () => {
  const { page, complaints } = await open('#/items')
  await page.locator('tbody tr').first().waitFor()
  const title = await page.locator('tbody a').first().innerText()
  await page.getByLabel('Title or id').fill(title.toUpperCase())
  await page.getByText('Matches, by interactions').waitFor()
  await page.getByRole('link', { name: title, exact: true }).click()
  await page.getByRole('heading', { name: 'Similar items' }).waitFor()
  assert.equal(await page.locator('h1').innerText(), title)
  assert((await page.locator('ol.rows > li').count()) >= 5)
  await shoot(page, 'item')
  await page.goto(`${base}/#/items`)
  await page.getByLabel('Title or id').fill('no such thing')
  await page.getByText('No title or id holds “no such thing”.').waitFor()
  assert.deepEqual(complaints, [])
  await page.goto(`${base}/#/item/nowhere`)
  await page.getByText('Not in the index').waitFor()
  await page.close()
})

test('users: narrowed by the beginning of an id, opened by Enter, and never run as markup', { skip }, async () => {
  const userId = await someUser()
  const { page, complaints } = await open('#/users')
  await page.getByLabel('User id').fill(userId)
  await page.locator('td.id', { hasText: userId }).first().waitFor()
  await page.getByLabel('User id').fill('zz<img src=x onerror=alert(1)>')
  await page.getByText('No user is known whose id begins with “zz<img').waitFor()
  await page.keyboard.press('Enter')
  await page.getByText('One click is enough').waitFor()
  assert.equal(await page.locator('h1').innerText(), 'zz<img src=x onerror=alert(1)>')
  assert.equal(await page.locator('main img').count(), 0)
  assert.deepEqual(complaints, [])
  await page.close()
})

test('every page fits a phone, in the dark too, and the theme can be chosen', { skip }, async () => {
  const userId = await someUser()
  const { page, complaints } = await open('#/')
  await page.setViewportSize({ width: 390, height: 740 })
  await page.emulateMedia({ colorScheme: 'dark' })
  for (const [name, hash, ready] of [
    ['overview', '#/', '.flow li'],
    ['users', '#/users', 'tbody tr'],
    ['user', `#/user/${userId}`, '.three ol'],
    ['items', '#/items', 'tbody tr'],
    ['experiments', '#/experiments', 'tbody tr'],
    ['records', '#/records', 'tbody tr']
  ] as const) {
    await page.goto(`${base}/${hash}`)
    await page.locator(ready).first().waitFor()
    const over = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')
    const background = await page.evaluate('getComputedStyle(document.body).backgroundColor')
    assert.equal(over, 0, `${name} is wider than the screen`)
    assert.deepEqual(await barriers(page), [], `${name} in the dark`)
    assert.equal(background, 'rgb(14, 17, 22)')
    await shoot(page, `${name}-phone-dark`)
  }
  await page.setViewportSize({ width: 1280, height: 860 })
  await shoot(page, 'items-dark')
  await page.goto(`${base}/#/user/${userId}`)
  await page.locator('#list').waitFor()
  await shoot(page, 'user-dark')
  await page.getByRole('button', { name: 'Theme: auto' }).click()
  assert.equal(await page.evaluate('getComputedStyle(document.body).backgroundColor'), 'rgb(245, 246, 248)')
  await page.reload()
  await page.getByRole('button', { name: 'Theme: light' }).waitFor()
  assert.deepEqual(complaints, [])
  await page.close()
})

test('by keyboard: the content can be reached, and pages open with Enter', { skip }, async () => {
  const { page, complaints } = await open('#/')
  await page.locator('.flow li').first().waitFor()
  await page.keyboard.press('Tab')
  assert.equal(await page.evaluate('document.activeElement.textContent'), 'Skip to the content')
  await page.keyboard.press('Enter')
  assert.equal(await page.evaluate('document.activeElement.id'), 'main')
  await page.getByRole('link', { name: 'Items' }).focus()
  await page.keyboard.press('Enter')
  await page.locator('tbody tr').first().waitFor()
  assert.equal(await page.evaluate('document.activeElement.id'), 'main')
  assert.equal(await page.locator('nav a[aria-current]').innerText(), 'Items')
  assert.deepEqual(complaints, [])
  await page.close()
})

test('a service that is gone is said to be gone', { skip }, async () => {
  const { page } = await open('#/')
  await page.locator('.flow li').first().waitFor()
  await service.stop('SIGTERM')
  await page.getByRole('alert').filter({ hasText: 'The service does not answer.' }).waitFor()
  assert.equal(await page.locator('#state').innerText(), 'No answer')
  await shoot(page, 'gone')
  await page.close()
})

test('a process that only serves shows what it knows, and says what it does not', { skip }, async () => {
  service = new MtmiProcess(
    ['--data-dir', path.join(folder, 'data'), '--run', 'simulation-4000', 'serve', '--port', '0'],
    { cwd: folder }
  )
  base = (await service.says(/serving .* on (http:[^\s"]+)/))[1]!
  const { page, complaints } = await open('#/')
  await page.getByRole('heading', { name: 'This process only serves' }).waitFor()
  assert.deepEqual(await page.locator('.flow .name').allInnerTexts(), ['Index', 'Answers'])
  assert.equal(await page.getByRole('heading', { name: 'Progressive hit rate@20' }).isVisible(), false)
  await shoot(page, 'serve')
  const userId = await someUser()
  await page.goto(`${base}/#/user/${userId}`)
  await page.locator('#list').waitFor()
  assert.deepEqual(complaints, [])
  await page.close()
})

test('where tokens are set, the console asks for one in a form that can be read in both themes, and then shows its pages', {
  skip
}, async () => {
  await service.stop('SIGTERM')
  const token = 'admin-0123456789abcdef'
  const words = ['--data-dir', path.join(folder, 'data'), '--run', 'simulation-4000', 'serve', '--port', '0']
  service = new MtmiProcess(words, { cwd: folder, env: { MTMI_SERVE_ADMIN_TOKEN: token } })
  base = (await service.says(/serving .* on (http:[^\s"]+)/))[1]!
  const { page } = await open('#/')
  const field = page.locator('#token-text')
  await field.waitFor()
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme })
    await field.fill('what is typed')
    const { color, background } = await page.evaluate<{ color: string; background: string }>(
      "(({ color, backgroundColor }) => ({ color, background: backgroundColor }))(getComputedStyle(document.getElementById('token-text')))"
    )
    assert.notEqual(color, background, colorScheme)
    await shoot(page, `token-${colorScheme}`)
  }
  await field.fill(token)
  await field.press('Enter')
  await page.getByRole('heading', { name: 'This process only serves' }).waitFor()
  assert.equal(await page.locator('#token').isVisible(), false)
  await page.close()
})
