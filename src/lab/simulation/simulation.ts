// A clickstream whose truth is known: users with several planted interests click through the topics of a catalogue.
//
// Items of a topic have a popularity (Zipf) and a place on a hidden ring. A session picks one interest of its user and
// clicks a few items of the topic, each near the last on the ring or by popularity. Items arrive all the time. At the
// drift users swap interests, topics their popularity, and items of a topic their places. Everything follows from the
// seed; a stream is made as it is read and may be read again.

import { Rng } from '../../core/rng.ts'
import type { CatalogueItem } from '../../records/catalogueItem.ts'
import type { Interaction, ItemId, UserId } from '../../records/interaction.ts'
import {
  another,
  type Click,
  event,
  indexOf,
  itemId,
  placesIn,
  type Session,
  shuffle,
  spoilt,
  userId
} from './simulatedEvents.ts'
import { SimulationDraw, zipf } from './simulationDraw.ts'
import { SimulationHeap } from './simulationHeap.ts'
import { checkSimulationOptions, type SimulationOptions, simulationDefaults } from './simulationOptions.ts'
import { simulationTopic } from './simulationTopics.ts'

/** What a reader of the stream will have met so far; every event has one fault at most. */
export interface SimulationCounts {
  /** Genuine events, each counted once, the late ones included. */
  events: number
  duplicates: number
  outOfOrder: number
  late: number
  bad: number
}

/**
 * Clicks that a user does not repeat, as far as the topic has others: people seldom want the same item again at once.
 */
const recentMax = 32
/** A resumed session takes up the ring where the user left it this often. */
const resumeShare = 0.5
/**
 * On the ring a click goes 1 … 5 items on, and one in five goes back instead: a neighbourhood, not a chain that Markov
 * counts could memorise.
 */
const ringStepMax = 5
const ringBackShare = 0.2
/** Mean seconds between clicks of a session. */
const gapMeanMs = 30_000
const gapMaxMs = 300_000

/** @throws ConfigError if the options contradict each other */
export function simulate(options: Partial<SimulationOptions> = {}): Simulation {
  return new Simulation({ ...simulationDefaults, ...options })
}

export class Simulation {
  readonly options: SimulationOptions
  /** From this event time on the second set of interests holds; Infinity without a drift. */
  readonly driftMs: number

  readonly #topicOf: Int32Array // [items]
  readonly #arrivalMs: Float64Array // [items]
  readonly #ringOf: readonly [before: Int32Array[], after: Int32Array[]] // by topic: item by place
  readonly #placeOf: readonly [before: Int32Array, after: Int32Array] // [items]
  readonly #inTopic: SimulationDraw[] // by topic: a place by popularity
  readonly #topicWeight: readonly [before: Float64Array, after: Float64Array] // [topics]
  readonly #interests: readonly [before: Int32Array, after: Int32Array] // [users, interestsMax], −1: none
  readonly #affinity: Float64Array // [users, interestsMax]
  readonly #active: SimulationDraw

  constructor(options: SimulationOptions) {
    checkSimulationOptions(options)
    this.options = options
    const { users, items, topics, interestsMin, interestsMax } = options
    const rng = new Rng(options.seed)
    this.driftMs =
      options.driftAt < 1
        ? options.startMs + Math.floor(options.durationMs * options.driftAt)
        : Number.POSITIVE_INFINITY

    const itemRng = rng.fork('items')
    // The first items give every topic one that is there from the start; the others are dealt out evenly, in random
    // order.
    const dealt = shuffle(
      Int32Array.from({ length: items - topics }, (_, i) => i % topics),
      itemRng
    )
    this.#topicOf = Int32Array.from({ length: items }, (_, i) => (i < topics ? i : dealt[i - topics]!))
    const fresh = Math.floor(items * options.newItemShare)
    this.#arrivalMs = Float64Array.from({ length: items }, (_, i) =>
      i < items - fresh
        ? options.startMs
        : options.startMs + Math.floor((options.durationMs * (i - (items - fresh) + 1)) / (fresh + 1))
    )
    const members: number[][] = Array.from({ length: topics }, () => [])
    for (let i = 0; i < items; i++) members[this.#topicOf[i]!]!.push(i)
    const rings = members.map((list) => shuffle(Int32Array.from(list), itemRng))
    // Popularity belongs to the place: items that change places change their popularity and their neighbours at once.
    const moved = rings.map((ring) => {
      const places = Int32Array.from(ring.keys()).filter(() => itemRng.uniform() < options.driftItemShare)
      const shuffled = shuffle(places.slice(), itemRng)
      const after = ring.slice()
      for (let i = 0; i < places.length; i++) after[places[i]!] = ring[shuffled[i]!]!
      return after
    })
    this.#ringOf = [rings, moved]
    this.#placeOf = [placesIn(rings, items), placesIn(moved, items)]
    this.#inTopic = rings.map((ring) => new SimulationDraw(shuffle(zipf(ring.length, options.itemSkew), itemRng)))

    const topicRng = rng.fork('topics')
    const before = shuffle(zipf(topics, options.topicSkew), topicRng)
    this.#topicWeight = [before, shuffle(before.slice(), topicRng)]

    const userRng = rng.fork('users')
    this.#active = new SimulationDraw(shuffle(zipf(users, options.userSkew), userRng))
    this.#affinity = Float64Array.from({ length: users * interestsMax }, () => 0.5 + userRng.uniform())
    const draws = this.#topicWeight.map((weights) => new SimulationDraw(weights))
    const first = new Int32Array(users * interestsMax).fill(-1)
    for (let user = 0; user < users; user++) {
      const own = first.subarray(user * interestsMax, (user + 1) * interestsMax)
      const count = interestsMin + userRng.integer(interestsMax - interestsMin + 1)
      for (let slot = 0; slot < count; slot++) own[slot] = another(draws[0]!, userRng, own, topics)
    }
    const second = first.slice()
    const driftRng = rng.fork('drift')
    for (let user = 0; user < users; user++) {
      if (driftRng.uniform() >= options.driftUserShare) continue
      const own = second.subarray(user * interestsMax, (user + 1) * interestsMax)
      const count = own.indexOf(-1) === -1 ? interestsMax : own.indexOf(-1)
      const swaps = Math.min(count, 1 + driftRng.integer(2), topics - count)
      for (const slot of shuffle(
        Int32Array.from({ length: count }, (_, i) => i),
        driftRng
      ).subarray(0, swaps)) {
        own[slot] = another(draws[1]!, driftRng, own, topics)
      }
    }
    this.#interests = [first, second]
  }

  /**
   * The catalogue, in order of arrival (`updatedAtMs`); the title names the topic and the place on the ring before the
   * drift.
   */
  items(): CatalogueItem[] {
    return Array.from(this.#topicOf, (topic, item) => {
      const { name, category } = simulationTopic(topic)
      const features =
        this.options.features === 'none'
          ? {}
          : this.options.features === 'topic'
            ? { topic: [name], category: [category] }
            : { category: [category] }
      return {
        itemId: itemId(item),
        title: `${name} #${this.#placeOf[0][item]! + 1}`,
        features,
        updatedAtMs: this.#arrivalMs[item]!
      }
    })
  }

  /** @returns undefined for an item that is not of this simulation */
  topicOf(id: ItemId): number | undefined {
    return this.#topicOf[indexOf(id, 'i')]
  }

  topicName(topic: number): string {
    return simulationTopic(topic).name
  }

  userIds(): UserId[] {
    return Array.from({ length: this.options.users }, (_, user) => userId(user))
  }

  /**
   * The topics that the user is interested in at an event time. @returns empty for a user that is not of this
   * simulation
   */
  interestsOf(id: UserId, timeMs: number): number[] {
    const user = indexOf(id, 'u')
    const { interestsMax } = this.options
    const interests = this.#interests[timeMs < this.driftMs ? 0 : 1]
    return [...interests.subarray(user * interestsMax, (user + 1) * interestsMax)].filter((topic) => topic >= 0)
  }

  /**
   * The stream in the order in which it arrives.
   *
   * @param counts filled in as the stream is read
   */
  *interactions(
    counts: SimulationCounts = { events: 0, duplicates: 0, outOfOrder: 0, late: 0, bad: 0 }
  ): Generator<Interaction> {
    const { duplicateShare, outOfOrderShare, lateShare, badShare, graceMs } = this.options
    const rng = new Rng(this.options.seed).fork('arrivals')
    const held = new Map<Session, Interaction>() // waits for the next click of its session
    const late = new Map<number, Interaction>() // by user: waits until it is late
    const repeats: { interaction: Interaction; after: number }[] = [] // oldest first
    let serial = 0
    const out: Interaction[] = []
    const newestMs = new Float64Array(this.options.users)
    const arrive = (user: number, interaction: Interaction) => {
      out.push(interaction)
      const behindMs = newestMs[user]! - interaction.eventTimeMs
      counts.events++
      if (behindMs > graceMs) counts.late++
      else if (behindMs > 0) counts.outOfOrder++
      else newestMs[user] = interaction.eventTimeMs
    }
    for (const click of this.#clicks()) {
      // The same event again, a few arrivals later, but soon enough that its id is still remembered.
      while (
        repeats.length > 0 &&
        (repeats[0]!.after <= serial || click.timeMs - repeats[0]!.interaction.eventTimeMs > graceMs / 2)
      ) {
        out.push(repeats.shift()!.interaction)
        counts.duplicates++
      }
      const { session } = click
      const interaction = event(++serial, click)
      const earlier = held.get(session)
      const draw = earlier === undefined ? rng.uniform() : 1
      if (draw < outOfOrderShare && !click.last) {
        held.set(session, interaction)
      } else if (draw >= outOfOrderShare && draw < outOfOrderShare + lateShare && !late.has(session.user)) {
        late.set(session.user, interaction)
      } else {
        arrive(session.user, interaction)
        if (draw >= outOfOrderShare + lateShare && draw < outOfOrderShare + lateShare + duplicateShare) {
          repeats.push({ interaction, after: serial + 1 + rng.integer(5) })
        }
        const overdue = late.get(session.user)
        if (overdue !== undefined && click.timeMs - overdue.eventTimeMs > graceMs) {
          arrive(session.user, overdue)
          late.delete(session.user)
        }
      }
      if (earlier !== undefined) {
        arrive(session.user, earlier)
        held.delete(session)
      }
      if (rng.uniform() < badShare) {
        out.push(spoilt(interaction, counts.bad))
        counts.bad++
      }
      yield* out
      out.length = 0
    }
    for (const { interaction } of repeats) {
      counts.duplicates++
      yield interaction
    }
    // Users who did not come back: most of what was kept from them is their newest, and so neither late nor out of
    // order.
    for (const [user, interaction] of [...late].sort((a, b) => a[1].eventTimeMs - b[1].eventTimeMs))
      arrive(user, interaction)
    yield* out
  }

  /** What really happened, in event-time order. */
  *#clicks(): Generator<Click> {
    const { users, interestsMax, events, startMs, durationMs, sessionMean, noiseShare, graceMs } = this.options
    const rng = new Rng(this.options.seed).fork('clicks')
    const recent = new Int32Array(users * recentMax).fill(-1)
    const recentAt = new Uint8Array(users)
    const left = new Int32Array(users * interestsMax).fill(-1) // the item where the user left an interest
    const gapCapMs = Math.max(2, Math.min(gapMaxMs, graceMs / 4))
    const running = new SimulationHeap<Session>()
    const spacingMs = (durationMs * sessionMean) / Math.max(1, events)
    let planned = 0
    while (planned < events || running.size > 0) {
      const baseMs = startMs + Math.floor((durationMs * planned) / Math.max(1, events))
      if (planned < events && baseMs <= running.nextMs) {
        const user = this.#active.next(rng)
        const slot = this.#pickInterest(user, baseMs, rng)
        const length = Math.min(
          events - planned,
          1 + Math.floor(Math.log(1 - rng.uniform()) / Math.log(1 - 1 / Math.max(sessionMean, 1.0001)))
        )
        const topic = this.#interests[baseMs < this.driftMs ? 0 : 1][user * interestsMax + slot]!
        const resumed = left[user * interestsMax + slot]!
        const last = resumed >= 0 && this.#topicOf[resumed] === topic && rng.uniform() < resumeShare ? resumed : -1
        running.push(baseMs + Math.floor(rng.uniform() * spacingMs), { user, slot, topic, left: length, last })
        planned += length
        continue
      }
      const timeMs = running.nextMs
      const session = running.pop()!
      const noise = rng.uniform() < noiseShare
      const topic = noise ? rng.integer(this.options.topics) : session.topic
      const seen = recent.subarray(session.user * recentMax, (session.user + 1) * recentMax)
      const item = this.#pickItem(topic, noise ? -1 : session.last, timeMs, seen, rng)
      seen[recentAt[session.user]!] = item
      recentAt[session.user] = (recentAt[session.user]! + 1) % recentMax
      if (!noise) {
        session.last = item
        left[session.user * interestsMax + session.slot] = item
      }
      session.left--
      yield { session, item, timeMs, last: session.left === 0 }
      if (session.left > 0)
        running.push(timeMs + 1 + Math.floor(Math.min(gapCapMs - 1, -Math.log(1 - rng.uniform()) * gapMeanMs)), session)
    }
  }

  /** A slot of the user's interests, by how much the user likes it and how popular the topic is now. */
  #pickInterest(user: number, timeMs: number, rng: Rng): number {
    const { interestsMax } = this.options
    const era = timeMs < this.driftMs ? 0 : 1
    let sum = 0
    let picked = 0
    for (let slot = 0; slot < interestsMax; slot++) {
      const topic = this.#interests[era][user * interestsMax + slot]!
      if (topic < 0) break
      // The root, so that an unpopular interest is still visited.
      const weight = this.#affinity[user * interestsMax + slot]! * Math.sqrt(this.#topicWeight[era][topic]!)
      sum += weight
      if (rng.uniform() * sum < weight) picked = slot
    }
    return picked
  }

  #pickItem(topic: number, last: number, timeMs: number, seen: Int32Array, rng: Rng): number {
    const era = timeMs < this.driftMs ? 0 : 1
    const ring = this.#ringOf[era][topic]!
    const placeOf = this.#placeOf[era]
    let item = -1
    for (let attempt = 0; attempt < 16; attempt++) {
      if (last >= 0 && attempt < 4 && rng.uniform() < this.options.sequentialShare) {
        const direction = rng.uniform() < ringBackShare ? -1 : 1
        let steps = 1 + rng.integer(ringStepMax)
        let place = placeOf[last]!
        for (let walked = 0; steps > 0 && walked < ring.length; walked++) {
          place = (place + direction + ring.length) % ring.length
          if (this.#arrivalMs[ring[place]!]! <= timeMs) steps--
        }
        item = ring[place]!
      } else {
        item = ring[this.#inTopic[topic]!.next(rng)]!
      }
      if (this.#arrivalMs[item]! <= timeMs && !seen.includes(item)) return item
    }
    // A topic that the user has nearly used up: the next one that is there.
    for (let i = 0; i < ring.length && this.#arrivalMs[item]! > timeMs; i++)
      item = ring[(placeOf[item]! + 1) % ring.length]!
    return item
  }
}
