// What a simulated clickstream is made of: every knob, its default and the reason.

import { ConfigError } from '../../core/errors.ts'

const minuteMs = 60_000
const dayMs = 24 * 60 * minuteMs

export interface SimulationOptions {
  readonly seed: number
  readonly users: number
  readonly items: number
  readonly topics: number
  /** A user has this many interests at least … */
  readonly interestsMin: number
  /** … and at most. */
  readonly interestsMax: number
  /** Genuine events; duplicates and bad ones come on top. */
  readonly events: number
  /** First event time, milliseconds since the Unix epoch. */
  readonly startMs: number
  readonly durationMs: number
  /** Share of the items that arrive one by one over the whole time instead of being there from the start. */
  readonly newItemShare: number
  /** Where in the stream tastes change, as a share of it; 1: never. */
  readonly driftAt: number
  /** Share of the users who then swap one or two interests for others. */
  readonly driftUserShare: number
  /**
   * Share of the items that then change places within their topic: what is popular there, and what goes with what, is
   * then no longer what it was.
   */
  readonly driftItemShare: number
  /** Exponent of the popularity of topics by rank: 0 is flat. */
  readonly topicSkew: number
  /** Exponent of the popularity of the items of a topic by rank. */
  readonly itemSkew: number
  /** Exponent of the activity of users by rank. */
  readonly userSkew: number
  /** Share of the clicks that follow the hidden order of the topic from the last click on, instead of popularity. */
  readonly sequentialShare: number
  /** Share of the clicks that have nothing to do with the user's interests. */
  readonly noiseShare: number
  /** Mean clicks in a session, geometric. */
  readonly sessionMean: number
  /**
   * What the catalogue tells of an item besides its title: nothing, a coarse category of four topics, or its very
   * topic.
   */
  readonly features: 'none' | 'category' | 'topic'
  /** Share of the events that arrive twice. */
  readonly duplicateShare: number
  /** Share of the events that arrive after a newer one of their user, within the grace. */
  readonly outOfOrderShare: number
  /** Share of the events that arrive only after their user has an event newer by more than the grace. */
  readonly lateShare: number
  /** Events that no consumer can use, as a share of the genuine ones. */
  readonly badShare: number
  /** What the sequencer is set to (`sequence.graceMs`): decides what is out of order and what is late. */
  readonly graceMs: number
}

/** The stream of `npm start`: learned in about a minute, and large enough that popularity is no answer. */
export const simulationDefaults: SimulationOptions = {
  seed: 1,
  users: 600, // a hundred clicks each: a window of 50 holds two clicks or more of nine in ten of a user's interests. Of 2,000 users' interests a third show less
  items: 2000,
  topics: 24,
  interestsMin: 2,
  interestsMax: 4, // as many as the default model has towers
  events: 60_000,
  startMs: Date.UTC(2026, 0, 5), // a Monday; any past moment will do
  durationMs: 14 * dayMs,
  newItemShare: 0.2,
  driftAt: 0.5,
  driftUserShare: 0.5,
  // Users who change their minds alone hardly hurt: a session shows at once what they want now. And the more items
  // change places, the longer their old steps in the windows mislead: with .25 even a model trained from the drift on
  // reaches only .41 of the .45 before.
  driftItemShare: 0.1,
  topicSkew: 0.7, // the first of 24 topics is 9 times the last
  itemSkew: 0.8, // about what click logs of shops and of video sites show
  userSkew: 0.5,
  sequentialShare: 0.5,
  noiseShare: 0.05,
  sessionMean: 3,
  features: 'category',
  duplicateShare: 0.01,
  outOfOrderShare: 0.02,
  lateShare: 0.002,
  badShare: 0.001,
  graceMs: 60 * minuteMs
}

/** @throws ConfigError with all problems at once */
export function checkSimulationOptions(options: SimulationOptions): void {
  const problems: string[] = []
  const within = (name: keyof SimulationOptions, min: number, max: number, whole: boolean) => {
    const value = options[name] as number
    if (!(value >= min && value <= max) || (whole && !Number.isInteger(value))) {
      problems.push(
        `simulation ${name} is ${value}: give ${whole ? 'a whole number' : 'a number'} from ${min} to ${max}`
      )
    }
  }
  within('seed', -0x80000000, 0xffffffff, true)
  within('users', 1, 10_000_000, true)
  within('topics', 1, 10_000, true)
  within('items', 1, 10_000_000, true)
  within('interestsMin', 1, 16, true)
  within('interestsMax', 1, 16, true)
  within('events', 0, 1e9, true)
  within('startMs', 0, 4e12, true)
  within('durationMs', 1, 1e12, true)
  within('sessionMean', 1, 1000, false)
  within('graceMs', 0, 30 * dayMs, true)
  const shares = [
    'newItemShare',
    'driftAt',
    'driftUserShare',
    'driftItemShare',
    'sequentialShare',
    'noiseShare',
    'duplicateShare',
    'outOfOrderShare',
    'lateShare',
    'badShare'
  ] as const
  for (const name of shares) within(name, 0, 1, false)
  for (const name of ['topicSkew', 'itemSkew', 'userSkew'] as const) within(name, 0, 4, false)
  if (options.interestsMin > options.interestsMax) {
    problems.push(
      `simulation interestsMin (${options.interestsMin}) must not be above interestsMax (${options.interestsMax})`
    )
  }
  if (options.interestsMax > options.topics) {
    problems.push(
      `simulation interestsMax (${options.interestsMax}) must not be above topics (${options.topics}): a user's interests are distinct`
    )
  }
  const atStart = options.items - Math.floor(options.items * options.newItemShare)
  if (atStart < options.topics) {
    problems.push(
      `simulation has ${atStart} items at the start (items ${options.items}, newItemShare ${options.newItemShare}) for ${options.topics} topics: give each topic at least one`
    )
  }
  if (options.duplicateShare + options.outOfOrderShare + options.lateShare > 1) {
    problems.push(
      'simulation duplicateShare, outOfOrderShare and lateShare must not sum to more than 1: an event has one fault at most'
    )
  }
  if (problems.length > 0) throw new ConfigError(problems)
}
