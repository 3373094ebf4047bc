// The formats that interactions are read from, and what the user is told of each.

/** One line per format: `--format NAME` and what a file of it looks like. */
export const formats = {
  recbole: 'RecBole atomic files: .inter (and .item) with a tab-separated name:type header',
  pairs: 'user item, one a line; all lines of a user together, oldest first',
  clicks: 'session item, one a line; the whole file in time order',
  'user-items': 'user item item …, one user a line, oldest first',
  sessions: 'item item …, one session a line, sessions in time order; no user ids',
  'flagged-pairs': 'user item 1, one a line, oldest first for each user (the tail of Gowalla as CosRec cuts it)',
  'user-item-time': 'user item timestamp, one a line (Amazon Books as ComiRec cuts it)',
  'user-item-rating-time': 'user item rating timestamp, one a line, no header (Amazon ratings CSV, MovieLens u.data and ratings.dat)',
  'amazon-json': 'Amazon reviews as JSON lines: reviewerID, asin, unixReviewTime, overall',
  gowalla: "SNAP's Gowalla check-ins: user, ISO time, latitude, longitude, location, tab-separated",
  retailrocket: "Retail Rocket's events.csv: timestamp,visitorid,event,itemid,transactionid",
  csv: 'CSV or TSV with a header; --columns user=…,item=…,time=…,type=…,value=… names its columns',
  jsonl: 'JSON lines, one object a line; --columns as for csv, with dots for nested fields'
} as const

export type FormatName = keyof typeof formats

export const formatNames = Object.keys(formats) as readonly FormatName[]

export function isFormatName(name: string): name is FormatName {
  return Object.hasOwn(formats, name)
}
