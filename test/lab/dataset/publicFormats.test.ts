// A small file in the shape of each public format, as docs/data-formats.md lists them: read right without options, or
// refused with what to do.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { ConfigError } from '../../../src/core/errors.ts'
import { type DatasetOptions, openDataset } from '../../../src/lab/dataset/dataset.ts'

let root: string
let folders = 0
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'mtmi-formats-'))
})
after(() => rm(root, { recursive: true, force: true }))

async function open(files: Readonly<Record<string, string>>, options: Partial<DatasetOptions> = {}) {
  const folder = await mkdtemp(join(root, `${folders++}-`))
  for (const [name, content] of Object.entries(files))
    await writeFile(join(folder, name), content, name.endsWith('.latin1') ? 'latin1' : 'utf8')
  const names = Object.keys(files)
  return openDataset(names.length === 1 ? join(folder, names[0]!) : folder, {
    seed: 1,
    tempDir: root,
    deadLetterDir: root,
    ...options
  })
}

/** `user item type time[ value]`, times without their zeros at the end; in the order of times. */
async function rowsOf(dataset: Awaited<ReturnType<typeof open>>): Promise<string[]> {
  const rows: string[] = []
  for await (const { userId, itemId, type, eventTimeMs, value } of dataset.interactions()) {
    const time =
      dataset.ordering === 'time' ? new Date(eventTimeMs).toISOString().replace(/(T00:00:00)?\.000Z$/, '') : '-'
    rows.push(`${userId} ${itemId} ${type} ${time}${value === undefined ? '' : ` ${value}`}`)
  }
  return rows
}

interface Case {
  readonly format: string
  readonly files: Readonly<Record<string, readonly string[]>>
  readonly rows: readonly string[]
  /** What the line before reading says. */
  readonly shown?: RegExp
  readonly items?: readonly string[]
}

const cases: readonly Case[] = [
  {
    format: 'movielens',
    files: {
      'u.data': ['196\t242\t3\t881250949'],
      'u.item': [`242|Kolya (1996)|24-Jan-1997||http://x|${'0|'.repeat(5)}1|${'0|'.repeat(12)}0`],
      'u.user': ['196|49|M|writer|55105']
    },
    rows: ['196 242 rating 1997-12-04T15:55:49 3'],
    items: ['242 Kolya (1996) {"genre":["Comedy"]}'],
    shown: /not read: u\.user/
  },
  {
    format: 'movielens',
    files: {
      'ratings.dat': ['1::1193::5::978300760', '1::661::3::978302109'],
      'movies.dat': ["1193::One Flew Over the Cuckoo's Nest (1975)::Drama", '661::James (1996)::Animation|Musical'],
      'users.dat': ['1::F::1::10::48067'],
      // Of MovieLens 10M
      'tags.dat': ['15::4973::excellent!::1215184630']
    },
    rows: ['1 1193 rating 2000-12-31T22:12:40 5', '1 661 rating 2000-12-31T22:35:09 3'],
    items: [
      '1193 One Flew Over the Cuckoo\'s Nest (1975) {"genres":["Drama"]}',
      '661 James (1996) {"genres":["Animation","Musical"]}'
    ],
    shown: /not read: tags\.dat, users\.dat/
  },
  {
    format: 'movielens',
    files: {
      'ratings.csv': ['userId,movieId,rating,timestamp', '1,307,3.5,1256677221'],
      'tags.csv': ['userId,movieId,tag,timestamp', '14,110,epic,1443148538'],
      'movies.csv': ['movieId,title,genres', '307,"Three Colors, Blue (1993)",Drama|(no genres listed)'],
      'links.csv': ['movieId,imdbId,tmdbId', '307,0108394,108'],
      'genome-scores.csv': ['movieId,tagId,relevance', '307,1,0.029']
    },
    rows: ['1 307 rating 2009-10-27T21:00:21 3.5'],
    items: ['307 Three Colors, Blue (1993) {"genres":["Drama","(no genres listed)"]}'],
    shown:
      /user = userId, item = movieId, time = timestamp \(unit s, first 2009-10-27T21:00:21Z\), value = rating; unused: none.*not read: genome-scores\.csv, links\.csv, tags\.csv/
  },
  {
    format: 'amazon-2014',
    files: {
      'ratings_Beauty.csv': ['A39HTATAQ9V7YF,0205616461,5.0,1369699200', 'A3JM6GV9MNOF9X,B00004TMFE,3.0,1355443200']
    },
    rows: ['A3JM6GV9MNOF9X B00004TMFE rating 2012-12-14 3', 'A39HTATAQ9V7YF 0205616461 rating 2013-05-28 5']
  },
  {
    format: 'amazon-2018',
    files: {
      'All_Beauty.csv': ['0143026860,A1V6B6TNIC10QE,1.0,1424304000', 'B00004TMFE,A2F5GHSXFQ0W6J,4.0,1418860800']
    },
    rows: ['A2F5GHSXFQ0W6J B00004TMFE rating 2014-12-18 4', 'A1V6B6TNIC10QE 0143026860 rating 2015-02-19 1'],
    shown: /user = 2, item = 1/
  },
  {
    format: 'amazon-2023',
    files: {
      'All_Beauty.jsonl': [
        '{"rating":5.0,"title":"Such a lovely scent","text":"x","images":[],"asin":"B00YQ6X8EO","parent_asin":"B00PARENT1","user_id":"AGKHLEW2SOWHNMFQIJGBECAF7INQ","timestamp":1588687728923,"helpful_vote":0,"verified_purchase":true}'
      ]
    },
    rows: ['AGKHLEW2SOWHNMFQIJGBECAF7INQ B00PARENT1 review 2020-05-05T14:08:48.923Z 5'],
    shown: /unused: title, text, images, asin, helpful_vote, verified_purchase/
  },
  {
    format: 'amazon-2023',
    files: {
      'Toys.train.csv': [
        'user_id,parent_asin,rating,timestamp,history',
        'AFZUK3MTBIBEDQOPAK3OATUOUKLA,B0BFR5WF1R,1.0,1675826333052,'
      ]
    },
    rows: ['AFZUK3MTBIBEDQOPAK3OATUOUKLA B0BFR5WF1R review 2023-02-08T03:18:53.052Z 1']
  },
  {
    format: 'amazon-json',
    files: {
      'reviews.json': [
        '{"reviewerID":"A1YJEY40YUW4SE","asin":"7806397051","overall":1.0,"reviewTime":"01 30, 2014","unixReviewTime":1391040000}'
      ]
    },
    rows: ['A1YJEY40YUW4SE 7806397051 review 2014-01-30 1']
  },
  {
    format: 'yoochoose',
    files: {
      'yoochoose-clicks.dat': [
        '1,2014-04-07T10:51:09.277Z,214536502,0',
        '1,2014-04-07T10:54:09.868Z,214536500,S',
        '2,2014-04-07T13:56:37.614Z,214662742,12'
      ],
      'yoochoose-buys.dat': ['2,2014-04-07T18:44:58.314Z,214821275,1046,1']
    },
    rows: [
      '1 214536502 click 2014-04-07T10:51:09.277Z',
      '1 214536500 click 2014-04-07T10:54:09.868Z',
      '2 214662742 click 2014-04-07T13:56:37.614Z',
      '2 214821275 purchase 2014-04-07T18:44:58.314Z'
    ]
  },
  {
    format: 'mind',
    files: {
      'behaviors.tsv': [
        '1\tU13740\t11/11/2019 9:05:58 AM\tN55189 N42782\tN55689-1 N35729-0',
        '2\tU13740\t11/12/2019 6:11:30 PM\tN55189 N42782\tN20678-0 N39317-1 N58114-1',
        '3\tU91836\t11/13/2019 1:00:00 PM\t\tN1-0 N2-0'
      ],
      'news.tsv': [
        'N55689\tsports\tgolf\tA "quoted title\tabstract\thttps://x\t[]\t[]',
        'N39317\tnews\tnewsus\tSecond\t\thttps://y\t[]\t[]'
      ]
    },
    rows: [
      'U13740 N55189 click 2019-11-04T09:05:56',
      'U13740 N42782 click 2019-11-04T09:05:57',
      'U13740 N55689 click 2019-11-11T09:05:58',
      'U13740 N39317 click 2019-11-12T18:11:30',
      'U13740 N58114 click 2019-11-12T18:11:30'
    ],
    items: [
      'N55689 A "quoted title {"category":["sports"],"subcategory":["golf"]}',
      'N39317 Second {"category":["news"],"subcategory":["newsus"]}'
    ]
  },
  {
    format: 'otto',
    files: {
      'otto-recsys-train.jsonl': [
        '{"session":0,"events":[{"aid":1517085,"ts":1659304800025,"type":"clicks"},{"aid":1563459,"ts":1659304904511,"type":"carts"},{"aid":1309446,"ts":1659367439426,"type":"orders"}]}'
      ]
    },
    rows: [
      '0 1517085 click 2022-07-31T22:00:00.025Z',
      '0 1563459 cart 2022-07-31T22:01:44.511Z',
      '0 1309446 purchase 2022-08-01T15:23:59.426Z'
    ]
  },
  {
    format: 'taobao',
    files: {
      'UserBehavior.csv': [
        '1,2268318,2520377,pv,1511544070',
        '1,2333346,2520771,buy,1511561733',
        '100,2576651,149192,cart,1511572885',
        '100,5,6,fav,1511572886'
      ]
    },
    rows: [
      '1 2268318 view 2017-11-24T17:21:10',
      '1 2333346 purchase 2017-11-24T22:15:33',
      '100 2576651 cart 2017-11-25T01:21:25',
      '100 5 like 2017-11-25T01:21:26'
    ]
  },
  {
    format: 'tmall',
    files: {
      'user_log_format1.csv': [
        'user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type',
        '328862,323294,833,2882,2661.0,829,0',
        '328862,844400,1271,2882,,1111,2'
      ]
    },
    rows: ['328862 323294 click 2014-08-29', '328862 844400 purchase 2014-11-11']
  },
  {
    format: 'hm',
    files: {
      'transactions_train.csv': [
        't_dat,customer_id,article_id,price,sales_channel_id',
        '2018-09-20,000058a12d5b43e67d225668fa1f8d618c13dc232df0cad8ffe7ad4a1091e318,0663713001,0.050830508474576264,2'
      ],
      'articles.csv': [
        'article_id,product_code,prod_name,product_type_name,colour_group_name',
        '0108775015,0108775,Strap top,Vest top,Black',
        '0663713001,0663713,Atlanta Push Body,Underwear body,White'
      ],
      'customers.csv': ['customer_id,FN,Active,club_member_status', '000058a1,1,,ACTIVE']
    },
    rows: ['000058a12d5b43e67d225668fa1f8d618c13dc232df0cad8ffe7ad4a1091e318 0663713001 purchase 2018-09-20'],
    items: [
      '0108775015 Strap top {"product_code":["0108775"],"product_type_name":["Vest top"],"colour_group_name":["Black"]}',
      '0663713001 Atlanta Push Body {"product_code":["0663713"],"product_type_name":["Underwear body"],"colour_group_name":["White"]}'
    ],
    shown: /not read: customers\.csv/
  },
  {
    format: 'lastfm',
    files: {
      'userid-timestamp-artid-artname-traid-traname.tsv': [
        'user_000001\t2009-05-04T23:08:57Z\tf1b1cf71-bd35-4e99-8624-24a6e15f133a\tDeep Dish\tt-1\tFuck Me Im Famous (Pacha Ibiza)-09-28-2007',
        'user_000001\t2009-05-04T13:54:10Z\ta7f7df4a-77d8-4f12-8acd-5c60c93f4de8\t坂本龍一\tt-2\tComposition 0919 "(Live'
      ]
    },
    rows: ['user_000001 t-2 click 2009-05-04T13:54:10', 'user_000001 t-1 click 2009-05-04T23:08:57']
  },
  {
    format: 'lastfm',
    files: {
      'usersha1-artmbid-artname-plays.tsv': [
        '00000c289a1829a808ac09c00daf10bc3c4e223b\t3bd73256-3905-4f3a-97e2-8b341527f805\tbetty blowtorch\t2137'
      ]
    },
    rows: ['00000c289a1829a808ac09c00daf10bc3c4e223b 3bd73256-3905-4f3a-97e2-8b341527f805 click - 2137']
  },
  {
    format: 'gorse',
    files: {
      'feedback.csv': [
        'feedback_type,user_id,item_id,time_stamp',
        'star,u1,gorse-io:gorse,2022-01-02 03:04:05.000000001 +0000 UTC',
        'like,u2,b,2022-01-01 00:00:00 +0000 UTC'
      ],
      'items.csv': [
        'item_id,is_hidden,categories,time_stamp,labels,description',
        'gorse-io:gorse,false,x|y,2020-01-01 01:01:01 +0000 UTC,a|b,"o,n,e"',
        'b,true,x,2020-01-01 01:01:01 +0000 UTC,c,two'
      ],
      'users.csv': ['user_id,labels', 'u1,a|b']
    },
    rows: ['u2 b like 2022-01-01', 'u1 gorse-io:gorse star 2022-01-02T03:04:05'],
    items: [
      'gorse-io:gorse undefined {"is_hidden":["false"],"categories":["x","y"],"labels":["a","b"],"description":["o,n,e"]}',
      'b undefined {"is_hidden":["true"],"categories":["x"],"labels":["c"],"description":["two"]}'
    ]
  },
  {
    format: 'metarank',
    files: {
      'events.jsonl': [
        '{"event":"item","id":"e1","timestamp":"1599391467000","item":"item1","fields":[{"name":"title","value":"Nice jeans"},{"name":"price","value":25.0},{"name":"color","value":["blue","black"]}]}',
        '{"event":"user","id":"e2","timestamp":"1599391467000","user":"user1","fields":[{"name":"age","value":33.0}]}',
        '{"event":"ranking","id":"e3","timestamp":"1599391467000","user":"user1","session":"s1","fields":[],"items":[{"id":"item1","relevancy":2.0},{"id":"item2"}]}',
        '{"event":"interaction","id":"e4","ranking":"e3","timestamp":"1599391468000","user":"user1","session":"s1","type":"purchase","item":"item1","fields":[]}'
      ]
    },
    rows: ['user1 item1 purchase 2020-09-06T11:24:28'],
    items: ['item1 Nice jeans {"color":["blue","black"]}']
  },
  {
    format: 'gowalla',
    files: { 'loc-gowalla_totalCheckins.txt': ['0\t2010-10-19T23:55:27Z\t30.2359091167\t-97.7951395833\t22847'] },
    rows: ['0 22847 checkin 2010-10-19T23:55:27']
  },
  {
    format: 'retailrocket',
    files: {
      'events.csv': ['timestamp,visitorid,event,itemid,transactionid', '1433221332117,257597,view,355908,'],
      'item_properties_part1.csv': ['timestamp,itemid,property,value', '1435460400000,460429,categoryid,1338'],
      'category_tree.csv': ['categoryid,parentid', '1016,213']
    },
    rows: ['257597 355908 view 2015-06-02T05:02:12.117Z'],
    shown: /not read: category_tree\.csv, item_properties_part1\.csv/
  },
  {
    format: 'recbole',
    files: { 'a.inter': ['user_id:token\titem_id:token\trating:float\ttimestamp:float', '196\t242\t3\t881250949'] },
    rows: ['196 242 rating 1997-12-04T15:55:49 3']
  },
  // Ten further ones, and more
  {
    format: 'jsonl',
    files: {
      'yelp_academic_dataset_review.json': [
        '{"review_id":"KU_O5udG6zpxOg-VcAEodg","user_id":"mh_-eMZ6K5RLWhZyISBhwA","business_id":"XQfwVwDr-v0ZS3_CbbE5Xw","stars":3.0,"useful":0,"text":"x","date":"2018-07-07 22:09:11"}'
      ]
    },
    rows: ['mh_-eMZ6K5RLWhZyISBhwA XQfwVwDr-v0ZS3_CbbE5Xw click 2018-07-07T22:09:11 3']
  },
  {
    format: 'jsonl',
    files: {
      'goodreads_interactions.json': [
        '{"user_id":"8842281e1d1347389f2ab93d60773d4d","book_id":"24375664","is_read":true,"rating":5,"date_added":"Fri Aug 25 13:55:02 -0700 2017","read_at":""}',
        '{"user_id":"8842281e1d1347389f2ab93d60773d4d","book_id":"18245960","is_read":false,"rating":0,"date_added":"Sun Jul 30 07:44:10 -0700 2017","read_at":""}'
      ]
    },
    rows: [
      '8842281e1d1347389f2ab93d60773d4d 18245960 rating 2017-07-30T14:44:10 0',
      '8842281e1d1347389f2ab93d60773d4d 24375664 rating 2017-08-25T20:55:02 5'
    ]
  },
  {
    format: 'csv',
    files: {
      'BX-Book-Ratings.csv': [
        '"User-ID";"ISBN";"Book-Rating"',
        '"276725";"034545104X";"0"',
        '"276726";"0155061224";"5"'
      ]
    },
    rows: ['276725 034545104X rating - 0', '276726 0155061224 rating - 5']
  },
  {
    format: 'netflix',
    files: {
      'combined_data_1.txt': ['1:', '1488844,3,2005-09-06', '822109,5,2005-05-13', '2:', '1488844,4,2005-09-07']
    },
    rows: ['822109 1 rating 2005-05-13 5', '1488844 1 rating 2005-09-06 3', '1488844 2 rating 2005-09-07 4']
  },
  {
    format: 'foursquare',
    files: {
      'dataset_TSMC2014_NYC.txt': [
        '470\t49bbd6c0f964a520f4531fe3\t4bf58dd8d48988d127951735\tArts & Crafts Store\t40.719810375488535\t-74.00258103213994\t-240\tTue Apr 03 18:00:09 +0000 2012'
      ]
    },
    rows: ['470 49bbd6c0f964a520f4531fe3 checkin 2012-04-03T18:00:09']
  },
  {
    format: 'diginetica',
    files: {
      'train-item-views.csv': [
        'sessionId;userId;itemId;timeframe;eventdate',
        '1;NA;81766;526309;2016-05-09',
        '1;NA;31331;1031018;2016-05-09',
        '2;7;1;0;2016-05-10'
      ]
    },
    rows: ['1 81766 view 2016-05-09T00:08:46.309Z', '1 31331 view 2016-05-09T00:17:11.018Z', '2 1 view 2016-05-10']
  },
  {
    format: 'trivago',
    files: {
      'train.csv': [
        'user_id,session_id,timestamp,step,action_type,reference,platform,city,device,current_filters,impressions,prices',
        '00RL8Z82B2Z1,aff3928535f48,1541037460,1,search for poi,Newtown,AU,"Sydney, Australia",mobile,,,',
        '00RL8Z82B2Z1,aff3928535f48,1541037522,2,interaction item image,666856,AU,"Sydney, Australia",mobile,,,',
        '00RL8Z82B2Z1,aff3928535f48,1541037532,3,clickout item,109038,AU,"Sydney, Australia",mobile,,3400638|1253714,95|66'
      ]
    },
    rows: ['00RL8Z82B2Z1 666856 view 2018-11-01T01:58:42', '00RL8Z82B2Z1 109038 click 2018-11-01T01:58:52']
  },
  {
    format: 'tianchi',
    files: {
      'tianchi_mobile_recommend_train_user.csv': [
        'user_id,item_id,behavior_type,user_geohash,item_category,time',
        '98047837,232431562,1,,4245,2014-12-06 02',
        '97726136,383583590,4,,5894,2014-12-09 20'
      ]
    },
    rows: ['98047837 232431562 click 2014-12-06T02:00:00', '97726136 383583590 purchase 2014-12-09T20:00:00']
  },
  {
    format: 'csv',
    files: {
      'big_matrix.csv': [
        'user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio',
        '0,3649,13838,10867,2020-07-05 00:08:23.438,20200705,1593878903.438,1.273397'
      ]
    },
    rows: ['0 3649 click 2020-07-04T16:08:23.438Z']
  },
  {
    format: 'csv',
    files: {
      'online_retail_II.csv': [
        'Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country',
        '489434,85048,"15CM BALL, 20 LIGHTS",12,2009-12-01 07:45:00,6.95,13085.0,United Kingdom',
        '489435,22350,CAT BOWL,12,2009-12-01 07:46:00,2.55,13086.0,United Kingdom'
      ]
    },
    rows: ['13085 85048 click 2009-12-01T07:45:00', '13086 22350 click 2009-12-01T07:46:00']
  },
  {
    format: 'csv',
    files: {
      'clicks_hour_000.csv': [
        'user_id,session_id,session_start,session_size,click_article_id,click_timestamp,click_environment',
        '0,1506825423271737,1506825423000,2,157541,1506826828020,4'
      ]
    },
    rows: ['0 157541 click 2017-10-01T03:00:28.020Z']
  },
  {
    format: 'csv',
    files: { 'interactions.csv': ['USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,EVENT_VALUE', '35,item_1,1586731606,click,'] },
    rows: ['35 item_1 click 2020-04-12T22:46:46']
  },
  {
    format: 'csv',
    files: {
      '2019-Nov.csv': [
        'event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session',
        '2019-11-01 00:00:00 UTC,cart,1003461,2053013555631882655,electronics.smartphone,xiaomi,489.07,520088904,4d3b30da'
      ]
    },
    rows: ['520088904 1003461 cart 2019-11-01']
  }
]

for (const { format, files, rows, shown, items } of cases) {
  test(`${format}: ${Object.keys(files)[0]}`, async () => {
    const dataset = await open(
      Object.fromEntries(Object.entries(files).map(([name, lines]) => [name, `${lines.join('\n')}\n`]))
    )
    assert.equal(dataset.format, format, dataset.describe)
    assert.deepEqual(await rowsOf(dataset), rows)
    assert.equal(dataset.deadLetters, 0)
    if (shown !== undefined) assert.match(dataset.describe, shown)
    if (items === undefined) return
    const found: string[] = []
    for await (const { itemId, title, features } of dataset.items())
      found.push(`${itemId} ${title} ${JSON.stringify(features)}`)
    assert.deepEqual(found, items)
  })
}

const refused: readonly [name: string, lines: readonly string[], message: RegExp][] = [
  // Instacart: users are in another table
  [
    'order_products__train.csv',
    ['order_id,product_id,add_to_cart_order,reordered', '1,49302,1,1'],
    /item = product_id, and no column is known to be the user; there are order_id[\s\S]*--columns/
  ],
  // Steam, and Amazon's catalogue of 2014
  [
    'steam_reviews.json',
    ["{u'username': u'Chaos Syren', u'product_id': u'725280'}"],
    /Python literals, not JSON[\s\S]*ast\.literal_eval/
  ],
  // Ta-Feng's first days could be months
  [
    'ta_feng.csv',
    [
      'TRANSACTION_DT,CUSTOMER_ID,AGE_GROUP,PIN_CODE,PRODUCT_SUBCLASS,PRODUCT_ID,AMOUNT,ASSET,SALES_PRICE',
      '11/1/2000,01104905,45-49,115,110411,4710199010372,2,24,30'
    ],
    /more than one way[\s\S]*2000-11-01 by format M\/d\/yyyy or 2000-01-11 by format d\/M\/yyyy[\s\S]*--columns 'format=M\/d\/yyyy'/
  ],
  // The complete journey of Dunnhumby counts days
  [
    'transaction_data.csv',
    [
      'household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY,TIMESTAMP',
      '2375,26984851472,1,1004906,1,1',
      '2375,26984851472,1,1033142,1,2'
    ],
    /holds no times that are understood[\s\S]*days, or a place in an order[\s\S]*time=none/
  ],
  // A year of two digits
  ['log.csv', ['user_id,item_id,date', '1,2,14102100', '2,3,14102101'], /a date with a year of two digits/],
  // The Million Song Dataset's taste profile, LFM-1b: no header, no evidence
  [
    'train_triplets.txt',
    [
      'b80344d063b5ccb3212f76538f3d9e43d87dca9e\tSOAKIMP12A8C130995\t1',
      'b80344d063b5ccb3212f76538f3d9e43d87dca9e\tSOAPDEY12A81C210A9\t1',
      'c\tSOAPDEY12A81C210A9\t4'
    ],
    /nothing in it says which column is the user[\s\S]*--columns user=1,item=2/
  ],
  [
    'LFM-1b_LEs.txt',
    ['31435741\t2\t4\t4\t1385212958', '31435742\t3\t5\t5\t1385212642'],
    /nothing in it says which column is the user[\s\S]*time 2013-11-23T13:22:38Z/
  ],
  // One JSON document, such as Spotify's million playlists
  [
    'mpd.slice.0-999.json',
    ['{', '    "info": {', '        "generated_on": "2017-12-03 08:41:42.057563"'],
    /one JSON document[\s\S]*jq -c/
  ],
  ['a.json', ['[{"user":1,"item":2},', '{"user":1,"item":3}]'], /one JSON document/]
]

for (const [name, lines, message] of refused) {
  test(`${name} is refused with what to do`, async () => {
    await assert.rejects(
      open({ [name]: `${lines.join('\n')}\n` }),
      (error) => error instanceof ConfigError && message.test(error.message),
      String(message)
    )
  })
}

test('a JSON line with a list of items is an interaction for each element, with ids of their own; one bad element refuses the line', async () => {
  const order = (user: string, hour: number, ...items: readonly object[]) =>
    JSON.stringify({ user, at: `2024-05-01T${hour}:00:00Z`, items })
  const lines = [
    order('u1', 10, { sku: 'a', price: 1.5 }, { sku: 'b', price: 2 }),
    order('u2', 11, { sku: 'a', price: 1.5 }),
    order('u2', 12),
    order('u3', 13, { sku: 'a' }, { sku: null })
  ]
  const columns = { user: 'user', item: 'items[*].sku', time: 'at', value: 'items[*].price' }
  const dataset = await open({ 'orders.jsonl': `${lines.join('\n')}\n` }, { columns })
  const found: string[] = []
  for await (const { eventId, userId, itemId, value } of dataset.interactions())
    found.push(`${eventId} ${userId} ${itemId} ${value}`)
  assert.deepEqual(found, ['orders.jsonl:1 u1 a 1.5', 'orders.jsonl:1:2 u1 b 2', 'orders.jsonl:2 u2 a 1.5'])
  assert.equal(dataset.deadLetters, 1)
})
