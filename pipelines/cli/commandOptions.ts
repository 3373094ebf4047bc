// Options that several commands have, and how values on the command line are read.

import { type Command, InvalidArgumentError, Option } from 'commander'

export type Settings = Record<string, unknown>

export const json = () => new Option('--json', 'Result as one line of JSON on standard output').default(false, 'no')
export const once = (what: string) => new Option('--once', what).default(false, 'no')
export const yes = (what: string) => new Option('--yes', what).default(false, 'no')
export const data = () => new Option('--data <path>', 'Data set: a file or a folder').argParser(nonEmpty('a path'))
export const port = () =>
  new Option('--port <number>', 'HTTP port (default: serve.port); 0: any').argParser(wholeNumber)
export const limit = (what: string, count: number) =>
  new Option('--limit <number>', what).argParser(wholeNumber).default(count)
export const samples = (count: number) =>
  new Option('--samples <number>', 'Number of newest records').argParser(wholeNumber).default(count)
export const topic = (what: string) => new Option('--topic <name>', what).argParser(nonEmpty('a topic'))

export type Example = readonly [command: string, purpose: string]

export function examples(list: readonly Example[]): string {
  const lines = list.flatMap(([command, purpose]) => [`  $ ${command}`, `      ${purpose}`])
  return ['', list.length === 1 ? 'Example:' : 'Examples:', ...lines].join('\n')
}

/** @param description of its own help; the list of commands shows its first sentence */
export function addCommand(parent: Command, name: string, description: string, list: readonly Example[]): Command {
  return parent
    .command(name)
    .summary(description.split('. ')[0]!)
    .description(description)
    .addHelpText('after', examples(list))
}

export function withOptions(command: Command, options: readonly Option[]): Command {
  return options.reduce((command, option) => command.addOption(option), command)
}

/** `train.batchSize=512` → `{ train: { batchSize: 512 } }`, after those given before. The value is JSON, or text. */
export function collect(text: string, earlier: readonly Settings[]): Settings[] {
  const at = text.indexOf('=')
  if (at <= 0) throw new InvalidArgumentError('give it as key=value, such as train.batchSize=512')
  const value = text.slice(at + 1)
  let parsed: unknown = value
  try {
    parsed = JSON.parse(value)
  } catch {
    // plain text
  }
  const path = text.slice(0, at).split('.')
  return [...earlier, path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), parsed) as Settings]
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('Give a whole number, such as 1000.')
  return Number(text)
}

export function wholeNumbers(text: string, earlier: number[] | undefined): number[] {
  return [...(earlier ?? []), wholeNumber(text)]
}

export function nonEmpty(what: string): (text: string) => string {
  return (text) => {
    if (text.trim() === '') throw new InvalidArgumentError(`Give ${what}.`)
    return text
  }
}
