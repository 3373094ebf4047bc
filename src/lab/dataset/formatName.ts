// The formats that interactions are read from: what a file of each looks like, and what its columns are.

import type { TimeForm } from '../../records/value/eventTime.ts'
import type { ColumnMapping } from './columnMapping.ts'
import type { TableReading } from './tableLayout.ts'

/** One line per format: `--format NAME` and what a file of it looks like. */
export const formats = {
  recbole: 'RecBole atomic files: .inter (and .item) with a tab-separated name:type header',
  pairs: 'user item, one a line; all lines of a user together, oldest first',
  clicks: 'session item, one a line; the whole file in time order',
  'user-items': 'user item item …, one user a line, oldest first',
  sessions: 'item item …, one session a line, sessions in time order; no user ids',
  'flagged-pairs': 'user item 1, one a line, oldest first for each user (the tail of Gowalla as CosRec cuts it)',
  'user-item-time': 'user item timestamp, one a line (Amazon Books as ComiRec cuts it)',
  'user-item-rating-time': 'user item rating timestamp, one a line, no header',
  movielens:
    'MovieLens 100K (u.data), 1M and 10M (ratings.dat), 20M and latest (ratings.csv), with titles of u.item, movies.dat, movies.csv',
  'amazon-2014': 'Amazon ratings of 2014, no header: user,item,rating,time',
  'amazon-2018': 'Amazon ratings of 2018, no header: item,user,rating,time',
  'amazon-2023': 'Amazon reviews of 2023: JSON lines or CSV with user_id, parent_asin, rating, timestamp',
  'amazon-json': 'Amazon reviews of 2014 and 2018 as JSON lines: reviewerID, asin, unixReviewTime, overall',
  gowalla: "SNAP's Gowalla and Brightkite check-ins: user, ISO time, latitude, longitude, location, tab-separated",
  foursquare:
    'Foursquare check-ins (TSMC2014): user, venue, category id and name, latitude, longitude, offset, time, tab-separated',
  retailrocket: "Retail Rocket's events.csv: timestamp,visitorid,event,itemid,transactionid",
  yoochoose: 'RecSys 2015 clicks (session,time,item,category) and buys (session,time,item,price,quantity), no header',
  mind: 'MIND behaviors.tsv: impression, user, time, history, impressions; history and clicked items are clicks',
  otto: 'OTTO sessions as JSON lines: session and a list of events with aid, ts, type',
  taobao: "Taobao's UserBehavior.csv, no header: user,item,category,behavior,time",
  tmall: "Tmall's user_log: user_id,item_id,…,time_stamp (month and day),action_type",
  tianchi: "Alibaba's mobile recommendation log: user_id,item_id,behavior_type,user_geohash,item_category,time",
  hm: "H&M's transactions_train.csv: t_dat,customer_id,article_id,price,sales_channel_id, with titles of articles.csv",
  lastfm:
    'Last.fm 1K (user, time, artist id and name, track id and name) and 360K (user, artist id, artist, plays), tab-separated, no header',
  gorse: "Gorse's feedback.csv: feedback_type,user_id,item_id,time_stamp, with items.csv",
  metarank: "Metarank's events as JSON lines: interactions, and items with their fields",
  diginetica: 'DIGINETICA train-item-views.csv: sessionId;userId;itemId;timeframe;eventdate',
  trivago: 'RecSys 2019 (trivago): user_id,session_id,timestamp,step,action_type,reference,…',
  netflix: 'Netflix Prize combined_data: a line with the movie and a colon, then user,rating,date',
  csv: 'CSV or TSV; --columns user=…,item=…,time=…,type=…,value=… names its columns, or numbers them where there is no header',
  jsonl: 'JSON lines, one object a line (or Parquet); --columns as for csv, with dots for nested fields'
} as const

export type FormatName = keyof typeof formats

export const formatNames = Object.keys(formats) as readonly FormatName[]

export function isFormatName(name: string): name is FormatName {
  return Object.hasOwn(formats, name)
}

/** A format with named columns, or JSON fields: recognised by the names that it must have. */
export interface NamedColumns extends TableReading {
  readonly format: FormatName
  readonly names: readonly string[]
  readonly mapping: ColumnMapping
}

export const headerFormats: readonly NamedColumns[] = [
  {
    format: 'retailrocket',
    names: ['visitorid', 'event', 'itemid', 'timestamp'],
    mapping: { user: 'visitorid', item: 'itemid', time: 'timestamp', type: 'event' },
    type: 'view'
  },
  { format: 'movielens', names: ['userId', 'movieId', 'rating', 'timestamp'], mapping: {}, type: 'rating' },
  { format: 'hm', names: ['t_dat', 'customer_id', 'article_id'], mapping: {}, type: 'purchase' },
  {
    format: 'gorse',
    names: ['feedback_type', 'user_id', 'item_id'],
    mapping: { type: 'feedback_type' },
    type: 'click'
  },
  {
    format: 'tmall',
    names: ['user_id', 'item_id', 'time_stamp', 'action_type'],
    mapping: { time: 'time_stamp', type: 'action_type' },
    type: 'click',
    types: { '0': 'click', '1': 'cart', '2': 'purchase', '3': 'like' },
    // The file has no year. The order of days is what counts, and any fixed year keeps it.
    time: { unit: 'iso' },
    timePrefix: '2014'
  },
  {
    format: 'tianchi',
    names: ['user_id', 'item_id', 'behavior_type', 'item_category', 'time'],
    mapping: { time: 'time', type: 'behavior_type' },
    type: 'click',
    types: { '1': 'click', '2': 'like', '3': 'cart', '4': 'purchase' },
    time: { format: 'yyyy-MM-dd HH' }
  },
  {
    format: 'diginetica',
    names: ['sessionId', 'itemId', 'timeframe', 'eventdate'],
    mapping: { user: 'sessionId', item: 'itemId', time: 'eventdate' },
    type: 'view',
    time: { unit: 'iso' },
    plusMs: 'timeframe'
  },
  {
    format: 'trivago',
    names: ['user_id', 'session_id', 'timestamp', 'action_type', 'reference'],
    mapping: { user: 'user_id', item: 'reference', time: 'timestamp', type: 'action_type' },
    type: 'click',
    // The reference of any other action is a place or a filter.
    types: {
      'clickout item': 'click',
      'search for item': 'view',
      'interaction item image': 'view',
      'interaction item info': 'view',
      'interaction item deals': 'view',
      'interaction item rating': 'view'
    },
    onlyTypes: [
      'clickout item',
      'search for item',
      'interaction item image',
      'interaction item info',
      'interaction item deals',
      'interaction item rating'
    ]
  },
  {
    format: 'amazon-2023',
    names: ['user_id', 'parent_asin', 'rating', 'timestamp'],
    mapping: { item: 'parent_asin' },
    type: 'review'
  }
]

export const jsonFormats: readonly NamedColumns[] = [
  {
    format: 'amazon-json',
    names: ['reviewerID', 'asin'],
    mapping: { user: 'reviewerID', item: 'asin', time: 'unixReviewTime', value: 'overall' },
    type: 'review'
  },
  {
    format: 'amazon-2023',
    names: ['user_id', 'parent_asin', 'timestamp'],
    mapping: { item: 'parent_asin', value: 'rating' },
    type: 'review'
  }
]

/**
 * A format without a header: fixed columns, `-` where one is not used. Columns of `evidence` must look like that for
 * the format to be recognised.
 */
export interface FixedColumns {
  readonly format: FormatName
  readonly columns: readonly string[]
  readonly type: string
  readonly types?: Readonly<Record<string, string>>
  readonly time?: TimeForm
  readonly quoted?: false
  /**
   * What makes the format sure, beside the number of columns: the file's name, or what its columns hold. undefined: it
   * must be named.
   */
  readonly fileName?: RegExp
  readonly delimiter?: string
  readonly evidence?: readonly (RegExp | undefined)[]
}

/** Ids of Amazon's items, and of its reviewers. */
const asin = /^(?:B[0-9A-Z]{9}|\d{9}[\dX])$/
const reviewer = /^A[0-9A-Z]{7,}$/

export const fixedFormats: readonly FixedColumns[] = [
  { format: 'amazon-2014', columns: ['user', 'item', 'value', 'time'], type: 'rating', evidence: [reviewer, asin] },
  { format: 'amazon-2018', columns: ['item', 'user', 'value', 'time'], type: 'rating', evidence: [asin, reviewer] },
  {
    format: 'movielens',
    columns: ['user', 'item', 'value', 'time'],
    type: 'rating',
    time: { unit: 's' },
    fileName: /^u\.data$/
  },
  {
    format: 'movielens',
    columns: ['user', 'item', 'value', 'time'],
    type: 'rating',
    time: { unit: 's' },
    delimiter: '::',
    evidence: [/^\d+$/, /^\d+$/, /^\d(\.\d)?$/, /^\d{9,10}$/]
  },
  {
    format: 'gowalla',
    columns: ['user', 'time', '-latitude', '-longitude', 'item'],
    type: 'checkin',
    time: { unit: 'iso' },
    quoted: false,
    delimiter: '\t',
    evidence: [undefined, /^\d{4}-\d\d-\d\dT/, /^-?\d+(\.\d+)?$/, /^-?\d+(\.\d+)?$/]
  },
  {
    format: 'foursquare',
    columns: ['user', 'item', '-category id', '-category', '-latitude', '-longitude', '-offset', 'time'],
    type: 'checkin',
    quoted: false,
    delimiter: '\t',
    evidence: [undefined, /^[0-9a-f]{24}$/, /^[0-9a-f]{24}$/]
  },
  {
    format: 'yoochoose',
    columns: ['user', 'time', 'item', '-category'],
    type: 'click',
    time: { unit: 'iso' },
    fileName: /yoochoose.*(clicks|test)/i
  },
  {
    format: 'yoochoose',
    columns: ['user', 'time', 'item', '-price', '-quantity'],
    type: 'purchase',
    time: { unit: 'iso' },
    fileName: /yoochoose.*buys/i
  },
  {
    format: 'yoochoose',
    columns: ['user', 'time', 'item', '-category'],
    type: 'click',
    time: { unit: 'iso' },
    evidence: [/^\d+$/, /^\d{4}-\d\d-\d\dT.*Z$/, /^(214|643)\d{6}$/]
  },
  {
    format: 'yoochoose',
    columns: ['user', 'time', 'item', '-price', '-quantity'],
    type: 'purchase',
    time: { unit: 'iso' },
    evidence: [/^\d+$/, /^\d{4}-\d\d-\d\dT.*Z$/, /^(214|643)\d{6}$/]
  },
  {
    format: 'taobao',
    columns: ['user', 'item', '-category', 'type', 'time'],
    type: 'click',
    types: { pv: 'view', buy: 'purchase', cart: 'cart', fav: 'like' },
    evidence: [undefined, undefined, undefined, /^(pv|buy|cart|fav)$/]
  },
  {
    format: 'lastfm',
    columns: ['user', 'time', '-artist id', '-artist', 'item', '-track'],
    type: 'click',
    time: { unit: 'iso' },
    quoted: false,
    delimiter: '\t',
    evidence: [/^user_\d+$/, /^\d{4}-\d\d-\d\dT/]
  },
  {
    format: 'lastfm',
    columns: ['user', 'item', '-artist', 'value'],
    type: 'click',
    quoted: false,
    delimiter: '\t',
    evidence: [/^[0-9a-f]{40}$/, /^[0-9a-f-]{36}$/]
  },
  // Without evidence: only by name, or by its number of columns where nothing could be swapped.
  { format: 'user-item-time', columns: ['user', 'item', 'time'], type: 'review' },
  { format: 'user-item-rating-time', columns: ['user', 'item', 'value', 'time'], type: 'rating' },
  {
    format: 'flagged-pairs',
    columns: ['user', 'item', '-flag'],
    type: 'checkin',
    evidence: [undefined, undefined, /^1$/]
  },
  { format: 'pairs', columns: ['user', 'item'], type: 'click' },
  { format: 'clicks', columns: ['user', 'item'], type: 'click' }
]

/** Formats of no data set in particular. */
export const plainFormats: ReadonlySet<FormatName> = new Set([
  'recbole',
  'pairs',
  'clicks',
  'user-items',
  'sessions',
  'flagged-pairs',
  'user-item-time',
  'user-item-rating-time',
  'csv',
  'jsonl'
])
