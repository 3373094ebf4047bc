// Stationary streams, and drifts of graded size planted in them: what the drift watch is measured on.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Rng } from '../../src/core/rng.ts'
import { simulate } from '../../src/lab/simulation/simulation.ts'
import type { SimulationOptions } from '../../src/lab/simulation/simulationOptions.ts'
import type { CatalogueItem } from '../../src/records/catalogueItem.ts'
import type { Interaction } from '../../src/records/interaction.ts'

export interface DriftStream {
  readonly catalogue: readonly CatalogueItem[]
  readonly interactions: Iterable<Interaction>
}

/** Of recorded streams: four events a minute, as in the simulation's 60,000 in a fortnight. */
const spacingMs = 20_000
const startMs = Date.UTC(2026, 0, 5)

/** The simulation without its own drift. One click in five is a purchase by chance, so that types can change. */
export function simulatedStream(seed: number, options: Partial<SimulationOptions> = {}): DriftStream {
  const simulation = simulate({ seed, driftAt: 1, badShare: 0, ...options })
  const rng = new Rng(seed).fork('types')
  function* typed(): Generator<Interaction> {
    for (const interaction of simulation.interactions())
      yield rng.uniform() < 0.2 ? { ...interaction, type: 'purchase' } : interaction
  }
  return { catalogue: [...simulation.items()], interactions: typed() }
}

/** Independent sessions of one event on 200 items, one in fourteen of them on the first. */
export function independentStream(seed: number, events: number): DriftStream {
  const rng = new Rng(seed)
  const features = (i: number) => ({ category: [`c${i % 7}`] })
  const catalogue = Array.from({ length: 200 }, (_, i) => ({
    itemId: `i${i}`,
    title: `item ${i}`,
    features: features(i),
    updatedAtMs: 0
  }))
  const interactions = Array.from({ length: events }, (_, at): Interaction => {
    const itemId = `i${Math.floor(200 * rng.uniform() ** 2)}`
    const type = rng.uniform() < 0.2 ? 'purchase' : 'view'
    return { eventId: `e${at}`, userId: `u${rng.integer(5000)}`, itemId, type, eventTimeMs: startMs + at * spacingMs }
  })
  return { catalogue, interactions }
}

/** MovieLens 100k, stationary: a rating of 4 or 5 is a purchase, others are views, all in random order. */
export function movieLensStream(dataDir: string, seed: number): DriftStream {
  const rng = new Rng(seed).fork('order')
  const ratings = shuffled(movieLensRatings(dataDir), rng)
  return {
    catalogue: movieLensItems(dataDir),
    interactions: ratings.map((rating, at) => ratedAt(rating, rating.userId, at))
  }
}

/**
 * The same with the ratings of a user one after another as recorded, 20 at most, and users in random order, eight times
 * under new ids: as dependent as can be.
 */
export function movieLensSessionStream(dataDir: string, seed: number): DriftStream {
  const rng = new Rng(seed).fork('order')
  const byUser = new Map<string, Rating[]>()
  for (const rating of movieLensRatings(dataDir)) {
    const own = byUser.get(rating.userId)
    if (own === undefined) byUser.set(rating.userId, [rating])
    else if (own.length < 20) own.push(rating)
  }
  const interactions: Interaction[] = []
  for (let pass = 1; pass <= 8; pass++) {
    for (const ratings of shuffled([...byUser.values()], rng)) {
      for (const rating of ratings) interactions.push(ratedAt(rating, `${rating.userId}/${pass}`, interactions.length))
    }
  }
  return { catalogue: movieLensItems(dataDir), interactions }
}

interface Rating {
  readonly userId: string
  readonly itemId: string
  readonly stars: number
  readonly seconds: number
}

/** In order of time. */
function movieLensRatings(dataDir: string): Rating[] {
  const lines = readFileSync(path.join(dataDir, 'ml-100k', 'ml-100k.inter'), 'utf8')
    .split('\n')
    .slice(1)
  return lines
    .filter((line) => line !== '')
    .map((line) => line.split('\t'))
    .map(([userId, itemId, stars, seconds]) => ({
      userId: userId!,
      itemId: itemId!,
      stars: Number(stars),
      seconds: Number(seconds)
    }))
    .sort((a, b) => a.seconds - b.seconds)
}

function ratedAt({ itemId, stars }: Rating, userId: string, at: number): Interaction {
  return {
    eventId: `e${at}`,
    userId,
    itemId,
    type: stars >= 4 ? 'purchase' : 'view',
    eventTimeMs: startMs + at * spacingMs
  }
}

function shuffled<T>(list: readonly T[], rng: Rng): T[] {
  return list
    .map((value) => ({ value, place: rng.uniform() }))
    .sort((a, b) => a.place - b.place)
    .map(({ value }) => value)
}

function movieLensItems(dataDir: string): CatalogueItem[] {
  return readFileSync(path.join(dataDir, 'ml-100k', 'ml-100k.item'), 'utf8')
    .split('\n')
    .slice(1)
    .filter((line) => line !== '')
    .map((line) => line.split('\t'))
    .map(([itemId, title, , genres]) => ({
      itemId: itemId!,
      title: title!,
      features: { genre: (genres ?? '').split(' ').filter((genre) => genre !== '') },
      updatedAtMs: 0
    }))
}

let digineticaRead: ReadonlyMap<string, readonly string[]> | undefined

/** Items by session, of all weeks. Read once: it is a million lines. */
function digineticaSessions(dataDir: string): ReadonlyMap<string, readonly string[]> {
  if (digineticaRead !== undefined) return digineticaRead
  const sessions = new Map<string, string[]>()
  for (let week = 0; week <= 16; week++) {
    for (const line of readFileSync(path.join(dataDir, 'diginetica', `period_${week}.txt`), 'utf8').split('\n')) {
      const [session, itemId] = line.split(' ')
      if (itemId === undefined) continue
      const items = sessions.get(session!)
      if (items === undefined) sessions.set(session!, [itemId])
      else items.push(itemId)
    }
  }
  digineticaRead = sessions
  return sessions
}

/**
 * DIGINETICA: sessions of all weeks in random order, a session a user. Several run at once, a click of each in turn.
 */
export function digineticaStream(dataDir: string, seed: number, events: number): DriftStream {
  const rng = new Rng(seed).fork('order')
  const sessions = digineticaSessions(dataDir)
  const ids = [...sessions.keys()]
  const interactions: Interaction[] = []
  const running: { readonly userId: string; readonly items: readonly string[]; at: number }[] = []
  while (interactions.length < events && ids.length > 0) {
    while (running.length < 20 && ids.length > 0) {
      const i = rng.integer(ids.length)
      const userId = ids[i]!
      ids[i] = ids.at(-1)!
      ids.pop()
      running.push({ userId, items: sessions.get(userId)!, at: 0 })
    }
    const i = rng.integer(running.length)
    const one = running[i]!
    const at = interactions.length
    const type = rng.uniform() < 0.05 ? 'purchase' : 'view'
    interactions.push({
      eventId: `e${at}`,
      userId: one.userId,
      itemId: one.items[one.at++]!,
      type,
      eventTimeMs: startMs + at * spacingMs
    })
    if (one.at === one.items.length) running.splice(i, 1)
  }
  return { catalogue: [], interactions }
}

export const plants = {
  none: 'nothing',
  type: 'a share of the events has another known type',
  new_type: 'a share of the events has a type that was not there before',
  category: 'a share of the events is on items of one category',
  hit: 'a share of the events is on one item',
  crawler: 'a share of the events is on items drawn from the catalogue, popular or not',
  new_items: 'a share of the events is on items that were not there before',
  new_users: 'a share of the events comes under user ids that were not there before, three events each',
  repeats: 'a share of the events comes again at once, with another id',
  lost: 'a share of the events is lost'
} as const
export type Plant = keyof typeof plants

/** @param size share of the events from number `from` on, 0 … 1 */
export function* planted(
  { interactions, catalogue }: DriftStream,
  plant: Plant,
  size: number,
  from: number,
  rng: Rng
): Generator<Interaction> {
  const ids = catalogue.map(({ itemId }) => itemId)
  const category = catalogue[0] === undefined ? [] : Object.values(catalogue[0].features)[0]!.slice(0, 1)
  const ofCategory = catalogue
    .filter(({ features }) => Object.values(features).some((names) => names.includes(category[0]!)))
    .map(({ itemId }) => itemId)
  const pick = (list: readonly string[]) => list[rng.integer(list.length)]!
  let at = 0
  let fresh = 0
  for (const interaction of interactions) {
    if (at++ < from || plant === 'none' || rng.uniform() >= size) {
      yield interaction
      continue
    }
    if (plant === 'type') yield { ...interaction, type: 'purchase' }
    else if (plant === 'new_type') yield { ...interaction, type: 'like' }
    else if (plant === 'category') yield { ...interaction, itemId: pick(ofCategory) }
    else if (plant === 'hit') yield { ...interaction, itemId: ids[7]! }
    else if (plant === 'crawler') yield { ...interaction, itemId: pick(ids) }
    else if (plant === 'new_items') yield { ...interaction, itemId: `new ${rng.integer(200)}` }
    else if (plant === 'new_users') yield { ...interaction, userId: `guest ${Math.floor(fresh++ / 3)}` }
    else if (plant === 'repeats') {
      yield interaction
      yield { ...interaction, eventId: `${interaction.eventId} again`, eventTimeMs: interaction.eventTimeMs + 1 }
    }
  }
}
