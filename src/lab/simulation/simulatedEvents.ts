// Sessions, clicks and ids of the simulation, and small draws.

import type { Rng } from '../../core/rng.ts'
import type { Interaction, ItemId, UserId } from '../../records/interaction.ts'
import type { SimulationDraw } from './simulationDraw.ts'

export interface Session {
  readonly user: number
  readonly slot: number
  readonly topic: number
  /** Clicks to come. */
  left: number
  /** Item clicked last; −1 none. */
  last: number
}

export interface Click {
  readonly session: Session
  readonly item: number
  readonly timeMs: number
  /** Of its session. */
  readonly last: boolean
}

export function event(serial: number, click: Click): Interaction {
  return {
    eventId: `e${serial}`,
    userId: userId(click.session.user),
    itemId: itemId(click.item),
    type: 'click',
    eventTimeMs: click.timeMs
  }
}

/** Four ways in which producers get it wrong, in turn. */
export function spoilt(like: Interaction, serial: number): Interaction {
  const eventId = `bad${serial + 1}`
  switch (serial % 4) {
    case 0:
      return { ...like, eventId, itemId: '' }
    case 1:
      return { ...like, eventId, eventTimeMs: 253_402_300_800_000 } // the year 10000: microseconds taken for milliseconds look like this
    case 2:
      return { ...like, eventId, userId: '' }
    default:
      return { ...like, eventId, eventTimeMs: -1 }
  }
}

export function userId(user: number): UserId {
  return `u${user + 1}`
}

export function itemId(item: number): ItemId {
  return `i${item + 1}`
}

/** @returns −1 for an id of another form */
export function indexOf(id: string, prefix: string): number {
  return /^[ui][1-9]\d*$/.test(id) && id.startsWith(prefix) ? Number(id.slice(1)) - 1 : -1
}

/** A topic by popularity that is not among `own`. */
export function another(draw: SimulationDraw, rng: Rng, own: Int32Array, topics: number): number {
  for (let attempt = 0; attempt < 100; attempt++) {
    const topic = draw.next(rng)
    if (!own.includes(topic)) return topic
  }
  let topic = rng.integer(topics)
  while (own.includes(topic)) topic = (topic + 1) % topics
  return topic
}

/** The place of every item on the ring of its topic. */
export function placesIn(rings: readonly Int32Array[], items: number): Int32Array {
  const places = new Int32Array(items)
  for (const ring of rings) {
    for (let place = 0; place < ring.length; place++) places[ring[place]!] = place
  }
  return places
}

/** In place (Fisher–Yates). */
export function shuffle<T extends Int32Array | Float64Array>(list: T, rng: Rng): T {
  for (let i = list.length - 1; i > 0; i--) {
    const j = rng.integer(i + 1)
    const swapped = list[i]!
    list[i] = list[j]!
    list[j] = swapped
  }
  return list
}
