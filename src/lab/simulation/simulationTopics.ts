// Names for planted topics, so that a person who reads the recommendations sees at once whether they make sense.

const categories: readonly (readonly [category: string, topics: readonly string[]])[] = [
  ['Music', ['Jazz', 'Opera', 'Techno', 'Folk']],
  ['Sport', ['Climbing', 'Sailing', 'Cycling', 'Judo']],
  ['Food', ['Baking', 'Ramen', 'Cheese', 'Coffee']],
  ['Travel', ['Alps', 'Japan', 'Islands', 'Deserts']],
  ['Craft', ['Pottery', 'Woodwork', 'Knitting', 'Robots']],
  ['Books', ['Poetry', 'Crime', 'Science fiction', 'History']]
]
const perCategory = 4

/**
 * @returns a name of its own for every topic, and the category that four topics share; beyond 24 topics they are
 *   numbered
 */
export function simulationTopic(topic: number): { readonly name: string; readonly category: string } {
  const round = Math.floor(topic / (categories.length * perCategory))
  const [category, names] = categories[Math.floor(topic / perCategory) % categories.length]!
  const suffix = round === 0 ? '' : ` ${round + 1}`
  return { name: names[topic % perCategory]! + suffix, category: category + suffix }
}
