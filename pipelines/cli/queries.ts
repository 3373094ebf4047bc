// `mtmi recommend` and `similar`: one query to the index of a run, whether or not its stages are running.

import type { Config } from '../../src/core/config/config.ts'
import { ConfigError } from '../../src/core/errors.ts'
import { plainLine, print } from '../../src/core/terminal.ts'
import { withRecommender } from '../indexReader.ts'

export async function recommend(
  config: Config,
  options: { user: string; limit: number; explain: boolean; json?: boolean }
): Promise<void> {
  const { user: userId, limit, explain } = options
  const answer = await withRecommender(config, limit, (recommender) =>
    recommender.recommend({ userId, limit, explain })
  )
  if (options.json === true) {
    print(`${JSON.stringify(answer)}\n`)
    return
  }
  const why =
    answer.coldStart === undefined ? `vectors of ${answer.version}` : `what is popular now, because ${answer.why}`
  const lines = answer.items.map(({ itemId, title, score, interest, about, because }, i) =>
    [
      `${String(i + 1).padStart(3)}. ${score.toFixed(3)}`,
      interest === null ? 'popular   ' : `interest ${interest + 1}`,
      title === undefined ? itemId : `${title} (${itemId})`,
      about,
      because === undefined || because.length === 0 ? undefined : `because of ${because.join(', ')}`
    ]
      .filter((part) => part !== undefined)
      .map(plainLine)
      .join('  ')
  )
  print(`user ${plainLine(userId)} · ${why}\n${lines.join('\n')}\n`)
}

export async function similar(config: Config, options: { item: string; limit: number; json?: boolean }): Promise<void> {
  const answer = await withRecommender(config, options.limit, (recommender) =>
    recommender.similar({ itemId: options.item, limit: options.limit })
  )
  if (answer === undefined)
    throw new ConfigError([
      `item ${options.item} is not in the index: it is unknown, or too new to have been published. \`mtmi recommend --user …\` shows items that are there`
    ])
  if (options.json === true) print(`${JSON.stringify(answer)}\n`)
  else {
    const lines = answer.items.map(
      ({ itemId, title, score }, i) =>
        `${String(i + 1).padStart(3)}. ${score.toFixed(3)}  ${plainLine(title === undefined ? itemId : `${title} (${itemId})`)}`
    )
    print(`near to ${plainLine(options.item)} · vectors of ${answer.version}\n${lines.join('\n')}\n`)
  }
}
