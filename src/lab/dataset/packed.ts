// Kinds of files that are no text, by their first bytes: what is read, and what to do about the others.

import { ConfigError } from '../../core/errors.ts'

const hex = (text: string) => Uint8Array.from(text.match(/../g)!.map((byte) => Number.parseInt(byte, 16)))
const ascii = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0))

/** A kind: its first bytes, where they stand, and what to do where it is not read. */
const kinds: readonly {
  readonly kind: string
  readonly bytes: Uint8Array
  readonly at?: number
  readonly advice?: string
}[] = [
  { kind: 'gzip', bytes: hex('1f8b') },
  { kind: 'zstd', bytes: hex('28b52ffd') },
  { kind: 'parquet', bytes: ascii('PAR1') },
  {
    kind: 'a zip archive',
    bytes: hex('504b0304'),
    advice: 'unpack it first: unzip FILE -d FOLDER, and give the folder or one of its files'
  },
  {
    kind: 'a tar archive',
    bytes: ascii('ustar'),
    at: 257,
    advice: 'unpack it first: tar xf FILE -C FOLDER, and give the folder or one of its files'
  },
  { kind: 'bzip2 data', bytes: ascii('BZh'), advice: 'unpack it first: bunzip2 -k FILE' },
  { kind: 'xz data', bytes: hex('fd377a585a00'), advice: 'unpack it first: unxz -k FILE' },
  { kind: 'LZ4 data', bytes: hex('04224d18'), advice: 'unpack it first: unlz4 FILE' },
  { kind: 'a 7-Zip archive', bytes: hex('377abcaf271c'), advice: 'unpack it first: 7z x FILE' },
  { kind: 'a RAR archive', bytes: ascii('Rar!'), advice: 'unpack it first: unrar x FILE' },
  { kind: 'an ORC file', bytes: ascii('ORC'), advice: 'convert it to Parquet or CSV first' },
  {
    kind: 'an Arrow file (Feather)',
    bytes: ascii('ARROW1'),
    advice: 'convert it to Parquet or CSV first: pandas.read_feather(FILE).to_parquet(…)'
  },
  {
    kind: 'an Avro file',
    bytes: hex('4f626a01'),
    advice:
      'convert it to JSON lines first: avro-tools tojson FILE > FILE.jsonl; topics of Avro records are read as sources'
  },
  {
    kind: 'an SQLite database',
    bytes: ascii('SQLite format 3'),
    advice: 'export the table first: sqlite3 -header -csv FILE "select * from …" > FILE.csv'
  },
  {
    kind: 'an HDF5 file',
    bytes: hex('894844460d0a1a0a'),
    advice: 'convert it to Parquet or CSV first: pandas.read_hdf(FILE).to_parquet(…)'
  },
  {
    kind: 'a NumPy array',
    bytes: hex('934e554d5059'),
    advice: 'save it as CSV first: numpy.savetxt(…, fmt="%d", delimiter=",")'
  },
  {
    kind: 'a Python pickle',
    bytes: hex('8004'),
    advice: 'convert it to Parquet or CSV first: pandas.read_pickle(FILE).to_csv(…)'
  },
  { kind: 'a PDF', bytes: ascii('%PDF'), advice: 'give a file of data' },
  { kind: 'UTF-16 text', bytes: hex('fffe'), advice: 'convert it first: iconv -f UTF-16 -t UTF-8 FILE > FILE.utf8' },
  { kind: 'UTF-16 text', bytes: hex('feff'), advice: 'convert it first: iconv -f UTF-16 -t UTF-8 FILE > FILE.utf8' }
]

/** What a file is that begins so; undefined: text, as far as can be seen. */
export function packingOf(start: Uint8Array): string | undefined {
  const found = kinds.find(
    ({ bytes, at = 0 }) => start.length >= at + bytes.length && bytes.every((byte, i) => start[at + i] === byte)
  )
  // A workbook is a zip archive whose first entries say so.
  if (found?.kind === 'a zip archive' && /\[Content_Types\]\.xml|xl\//.test(Buffer.from(start).toString('latin1')))
    return workbook.kind
  return found?.kind
}

const workbook = { kind: 'an Excel workbook', advice: 'save the sheet as CSV (UTF-8) first' }

/** @throws ConfigError naming the kind, and what to do, if it is one that is not read */
export function rejectPacked(path: string, packing: string | undefined): void {
  if (packing === undefined) return
  const advice = packing === workbook.kind ? workbook.advice : kinds.find(({ kind }) => kind === packing)?.advice
  if (advice !== undefined)
    throw new ConfigError([
      `${path} is ${packing}, which is not read; ${advice.replaceAll('FILE', path).replaceAll('FOLDER', path.replace(/(\.\w{1,4})+$/, ''))}`
    ])
}
