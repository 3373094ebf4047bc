// The dashboards, as a table of panels; Grafana's JSON is written from it, so that layout and options are the same
// everywhere.
//
//   node infra/grafana/writeDashboards.mjs     writes dashboards/*.json
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const datasource = { type: 'prometheus', uid: 'mtmi-prometheus' }

/** title, unit, what one learns from it, then pairs of query and legend */
const series = (title, unit, description, ...queries) => ({ type: 'timeseries', title, unit, description, queries })
const stat = (title, unit, description, query, thresholds) => ({
  type: 'stat',
  title,
  unit,
  description,
  queries: [[query, '']],
  thresholds
})
/** Green below `warn`, red above `bad`; the other way round where bad < warn. */
const bounds = (warn, bad) => ({ warn, bad })
const job = 'job="$job"'
const clicked = (title, description, by, metric) => {
  const within = (outcome) => `sum by (${by}) (increase(${metric}{${job}, outcome="${outcome}"}[1h]))`
  return series(title, 'percentunit', `${description}, as a share`, [
    `${within('clicked')} / (${within('answered')} > 0)`,
    `{{${by}}}`
  ])
}
/** What a reader of `src/core/account.ts` reads, and what becomes of it. */
const account = (title, description, reader, read = 'read') =>
  series(
    title,
    'ops',
    description,
    [`sum(rate(mtmi_stage_read_records_total{reader="${reader}", ${job}}[5m]))`, read],
    [`sum by (outcome) (rate(mtmi_stage_records_total{reader="${reader}", ${job}}[5m]))`, '{{outcome}}']
  )
/** @param by labels beside the bucket's, each with a comma and a blank */
const p99 = (histogram, by = '', over = '5m') =>
  `histogram_quantile(0.99, sum by (${by}le) (rate(${histogram}_bucket{${job}}[${over}])))`
const lastHour = (counter) => `sum(increase(${counter}{${job}}[1h]))`

export const dashboards = [
  {
    uid: 'mtmi-pipeline',
    title: 'MTMI: pipeline health',
    rows: [
      [
        stat(
          'Events a second',
          'ops',
          'Read by the sequencer, over five minutes',
          `sum(job:mtmi_sequence_events:rate5m{${job}})`
        ),
        stat(
          'Greatest lag',
          's',
          'Of any stage behind its input',
          `max(job_stage:mtmi_stage_lag_seconds:max{${job}})`,
          bounds(60, 900)
        ),
        stat(
          'Freshness p99',
          's',
          'From click to served vectors',
          `max(job:mtmi_publish_freshness_seconds:p99_5m{${job}})`,
          bounds(5, 10)
        ),
        stat(
          'Dead letters',
          'percentunit',
          'Share of records that cannot be used',
          `max(job:mtmi_sequence_rejected_events:ratio_rate5m{${job}})`,
          bounds(0.01, 0.2)
        ),
        stat(
          'Targets down',
          'short',
          'Processes that Prometheus cannot reach',
          `count(up{${job}} == 0) or vector(0)`,
          bounds(1, 1)
        ),
        stat(
          'Alerts',
          'short',
          'Firing now',
          'count(ALERTS{alertname=~"Mtmi.*", alertstate="firing"}) or vector(0)',
          bounds(1, 3)
        )
      ],
      [
        series('Lag', 's', 'How far each stage is behind the newest record of its input', [
          `job_stage:mtmi_stage_lag_seconds:max{${job}}`,
          '{{stage}}'
        ]),
        series('Since progress', 's', 'Grows while work waits and nothing moves', [
          `job_stage:mtmi_stage_progress_age_seconds:max{${job}}`,
          '{{stage}}'
        ]),
        series('Lag by partition', 'short', 'Records below the high watermark that the stage has not read', [
          `max by (stage, partition) (mtmi_stage_partition_lag_records{${job}})`,
          '{{stage}}: {{partition}}'
        ])
      ],
      [
        series(
          'Events',
          'ops',
          'Read by the sequencer, and by outcome',
          [`sum(rate(mtmi_stage_read_records_total{reader="sequence", ${job}}[5m]))`, 'read'],
          [`job_outcome:mtmi_sequence_events:rate5m{${job}}`, '{{outcome}}']
        ),
        series(
          'Dead letters',
          'ops',
          'Of sequence by reason; of every stage by the topic that it read',
          [`sum by (reason) (rate(mtmi_sequence_rejected_events_total{${job}}[5m]))`, '{{reason}}'],
          [`sum by (stage, topic) (rate(mtmi_stage_dead_letter_records_total{${job}}[5m]))`, '{{stage}}: {{topic}}']
        )
      ],
      [
        series('Ignored events', 'ops', 'Of a type without a weight (events.types), by type', [
          `sum by (type) (rate(mtmi_sequence_ignored_events_total{${job}}[5m]))`,
          '{{type}}'
        ]),
        series('Waiting records', 'short', 'Read, and without an outcome yet, by reader', [
          `sum by (reader) (mtmi_stage_waiting_records{${job}})`,
          '{{reader}}'
        ]),
        series('Unaccounted records', 'short', 'Read, not waiting and without an outcome: anything but 0 is a bug', [
          `sum by (reader) (mtmi_stage_unaccounted_records{${job}})`,
          '{{reader}}'
        ])
      ],
      [
        account('Data set or simulation', 'Rows read, and rows by outcome', 'source'),
        account('Ingest', 'Records of source topics: read, and what became of them', 'ingest'),
        series('Ingest', 'Bps', 'Keys and values read from source topics', [
          `sum(rate(mtmi_ingest_read_bytes_total{${job}}[5m]))`,
          'read'
        ])
      ],
      [
        series('Age of events', 's', 'When nine in ten had happened before they were sequenced', [
          `job:mtmi_sequence_event_age_seconds:p90_15m{${job}}`,
          'p90'
        ]),
        series('Commit', 's', 'Making histories and offsets durable', [p99('mtmi_sequence_commit_seconds'), 'p99']),
        series(
          'Users',
          'short',
          'With a history, and forgotten an hour',
          [`sum(mtmi_sequence_users{${job}})`, 'users'],
          [lastHour('mtmi_sequence_expired_users_total'), 'forgotten']
        )
      ],
      [
        series(
          'Erasure',
          'short',
          'In the last hour: users erased on request, users whose examples the trainer gave up, checkpoints rewritten without them',
          [lastHour('mtmi_sequence_erased_users_total'), 'erased'],
          [lastHour('mtmi_train_forgotten_users_total'), 'forgotten by the trainer'],
          [lastHour('mtmi_train_rewritten_checkpoints_total'), 'checkpoints']
        )
      ],
      [
        series('Cores used', 'short', 'By process', [`rate(process_cpu_seconds_total{${job}}[5m])`, '{{instance}}']),
        series('Memory', 'bytes', 'Resident, by process', [`process_resident_memory_bytes{${job}}`, '{{instance}}']),
        series('Event loop', 's', 'How long the main thread is held up, p99', [
          `nodejs_eventloop_lag_p99_seconds{${job}}`,
          '{{instance}}'
        ])
      ]
    ]
  },
  {
    uid: 'mtmi-learning',
    title: 'MTMI: learning quality',
    rows: [
      [
        stat(
          'Hit rate@20',
          'percentunit',
          'Of recent targets, ranked before they were trained on',
          `max(mtmi_train_progressive_hit_rate_ratio{${job}, ranker="model", k="20"})`
        ),
        stat(
          'Times popularity',
          'short',
          '1: as good as recommending what is popular',
          `max(job_k:mtmi_train_progressive_hit_rate_ratio:lift{${job}, k="20"})`,
          bounds(1.2, 1)
        ),
        stat('Loss', 'short', 'Of the last step', `max(mtmi_train_loss{${job}})`),
        stat(
          'Intra-user cosine',
          'short',
          'Near 1 the interests are all alike',
          `max(mtmi_train_intra_user_cosine{${job}})`,
          bounds(0.8, 0.9)
        ),
        stat('Step', 'short', 'Number of the last one', `max(mtmi_train_step{${job}})`),
        stat(
          'Checkpoint',
          's',
          'Since the last was durable',
          `max(mtmi_train_checkpoint_age_seconds{${job}})`,
          bounds(300, 900)
        )
      ],
      [
        series(
          'Progressive hit rate',
          'percentunit',
          'Ranked with the weights as they were, then trained on',
          [`max by (ranker, k) (mtmi_train_progressive_hit_rate_ratio{${job}})`, '{{ranker}} @{{k}}'],
          [`max(mtmi_train_progressive_hit_rate_error_ratio{${job}})`, 'standard error of the sample, whole stream']
        ),
        series('Progressive NDCG', 'percentunit', 'The same, by rank', [
          `max by (ranker, k) (mtmi_train_progressive_ndcg_ratio{${job}})`,
          '{{ranker}} @{{k}}'
        ])
      ],
      [
        series('Loss', 'short', 'Mean of the last step', [`max(mtmi_train_loss{${job}})`, 'loss']),
        series('Gradient', 'short', 'L2 norm before it is scaled down', [
          `max(mtmi_train_gradient_norm{${job}})`,
          'norm'
        ]),
        series(
          'Examples',
          'ops',
          'Read by the trainer, by outcome, and earlier ones trained on again (replay)',
          [`sum(rate(mtmi_stage_read_records_total{reader="train", ${job}}[5m]))`, 'read'],
          [`job_outcome:mtmi_train_examples:rate5m{${job}}`, '{{outcome}}'],
          [`sum(rate(mtmi_train_replayed_examples_total{${job}}[5m]))`, 'replayed']
        )
      ],
      [
        series(
          'Time of a step',
          's',
          'Training, and ranking before it',
          [`job:mtmi_train_step_seconds:p99_5m{${job}}`, 'learn p99'],
          [p99('mtmi_train_evaluate_seconds'), 'rank p99']
        ),
        series('Batch', 'short', 'Examples in a step, replayed ones included', [
          `sum(rate(mtmi_train_batch_examples_sum{${job}}[5m])) / sum(rate(mtmi_train_batch_examples_count{${job}}[5m]))`,
          'mean'
        ]),
        series(
          'Steps that were not finite',
          'short',
          'In an hour: dropped, and times that training went back',
          [`increase(mtmi_train_diverged_steps_total{${job}}[1h])`, 'dropped'],
          [`increase(mtmi_train_rollbacks_total{${job}}[1h])`, 'went back']
        )
      ],
      [
        series('Towers', 'percentunit', 'Share of targets to which each was the nearest', [
          `max by (tower) (mtmi_train_tower_wins_ratio{${job}})`,
          'tower {{tower}}'
        ]),
        series('Rows', 'short', 'Of the tables', [`max by (table) (mtmi_train_rows{${job}})`, '{{table}}']),
        series('Checkpoint size', 'bytes', 'Of the last', [`max(mtmi_train_checkpoint_bytes{${job}})`, 'bytes']),
        series(
          'Training paused for a checkpoint',
          's',
          'While state is copied; it is written while training continues',
          [p99('mtmi_train_checkpoint_stall_seconds', '', '15m'), 'p99']
        )
      ]
    ]
  },
  {
    uid: 'mtmi-drift',
    title: 'MTMI: drift',
    rows: [
      [
        series(
          'Population stability index',
          'short',
          'Of the newest window of interactions against the four before it, and from where on it is an alarm',
          [`max by (feature) (mtmi_drift_psi{${job}})`, '{{feature}}'],
          [`max by (feature) (mtmi_drift_threshold_psi{${job}})`, '{{feature}} threshold']
        )
      ],
      [
        series('Changes noticed', 'short', 'In the last hour, by what changed and by which test', [
          `sum by (signal, detector) (increase(mtmi_drift_detections_total{${job}}[1h]))`,
          '{{signal}} by {{detector}}'
        ]),
        series('Since a change', 's', 'Was last noticed', [
          `min by (signal) (mtmi_drift_detection_age_seconds{${job}})`,
          '{{signal}}'
        ])
      ],
      [
        series('New users and items', 'percentunit', 'Share of interactions by users, or on items, not seen before', [
          `max by (role) (mtmi_drift_new_ratio{${job}})`,
          '{{role}}'
        ]),
        series(
          'Gap of seen and unseen',
          'short',
          'Loss on new examples less loss on replayed ones: grows with overfitting',
          [`max(mtmi_drift_overfit_gap_loss{${job}})`, 'gap']
        ),
        series('Evenness of towers', 'percentunit', '1 all alike, 0 one takes all', [
          `min(mtmi_drift_tower_wins_entropy_ratio{${job}})`,
          'entropy'
        ])
      ],
      [
        series('Movement of item vectors', 'short', 'Mean distance between two versions', [
          `max(mtmi_drift_item_movement_distance{${job}})`,
          'distance'
        ]),
        series('Centroid', 'short', 'Cosine of the mean item vectors of two versions', [
          `min(mtmi_drift_item_centroid_cosine{${job}})`,
          'cosine'
        ]),
        series('Length of item rows', 'short', 'Percentiles', [
          `max by (at) (mtmi_drift_item_row_norm{${job}})`,
          '{{at}}'
        ])
      ],
      [
        series(
          'Skew of training and serving',
          'short',
          'Vectors in the index against those by the weights now; and the greatest error that items left as written make to a score',
          [`max by (role) (mtmi_drift_serving_skew_distance{${job}})`, '{{role}}'],
          [`max(mtmi_publish_item_score_error_cosine{${job}})`, 'score error, at most']
        ),
        series(
          'Served lists by the weights now',
          'percentunit',
          'Share of the 20 items served that the weights as they are now would serve too, on a sample of users',
          [`min(mtmi_publish_served_overlap_ratio{${job}})`, 'overlap@20']
        )
      ]
    ]
  },
  {
    uid: 'mtmi-serving',
    title: 'MTMI: publishing and freshness',
    rows: [
      [
        stat(
          'Freshness p50',
          's',
          'From click to served vectors',
          `max(job:mtmi_publish_freshness_seconds:p50_5m{${job}})`,
          bounds(2, 10)
        ),
        stat(
          'Freshness p99',
          's',
          'From click to served vectors',
          `max(job:mtmi_publish_freshness_seconds:p99_5m{${job}})`,
          bounds(5, 10)
        ),
        stat(
          'Requests a second',
          'reqps',
          'Lists, similar items and events',
          `sum(job_route:mtmi_serve_request_seconds:rate5m{${job}})`
        ),
        stat(
          'Errors',
          'percentunit',
          'Answers of 500 and above',
          `max(job:mtmi_serve_request_seconds:error_ratio_rate5m{${job}})`,
          bounds(0.001, 0.01)
        ),
        stat('Items', 'short', 'In the live index version', `max(mtmi_index_points{${job}, role="item"})`),
        stat('Users', 'short', 'In the live index version', `max(mtmi_index_points{${job}, role="user"})`)
      ],
      [
        series(
          'Freshness',
          's',
          'From the log taking a click to the new vectors being served',
          [`job:mtmi_publish_freshness_seconds:p50_5m{${job}}`, 'p50'],
          [`job:mtmi_publish_freshness_seconds:p99_5m{${job}}`, 'p99']
        ),
        series(
          'Effective interests',
          'short',
          'Of published users, by the shares of the history that interests explain',
          [
            `sum(rate(mtmi_publish_effective_interests_sum{${job}}[15m])) / sum(rate(mtmi_publish_effective_interests_count{${job}}[15m]))`,
            'mean'
          ]
        ),
        series('Age of vectors', 's', 'Since some were last written', [
          `job_role:mtmi_publish_vectors_age_seconds:max{${job}}`,
          '{{role}}'
        ])
      ],
      [
        account('Changes of users', 'Read by the publisher, and by outcome', 'publish'),
        account('Popularity', 'Events read to count popularity, and by outcome', 'popularity')
      ],
      [
        account('Model updates', 'Read to make vectors, and by outcome', 'model'),
        account('Catalogue', 'Records read, and by outcome', 'catalogue')
      ],
      [
        series('Published', 'ops', 'Points, by what became of them', [
          `job_role_outcome:mtmi_publish_points:rate5m{${job}}`,
          '{{role}} {{outcome}}'
        ]),
        series('Waiting', 'short', 'Points still to be published', [
          `sum by (role) (mtmi_publish_waiting_points{${job}})`,
          '{{role}}'
        ]),
        series(
          'Step',
          'short',
          'Of the trainer, and of the weights that vectors were written by',
          [`max(mtmi_train_step{${job}})`, 'trained'],
          [`max(mtmi_publish_step{${job}})`, 'published']
        )
      ],
      [
        series('Time of a publication', 's', 'Encoding and writing, p99', [
          p99('mtmi_publish_batch_seconds', 'role, '),
          '{{role}}'
        ]),
        series('Where freshness goes', 's', 'Parts of the way from click to vectors, p99', [
          p99('mtmi_publish_freshness_part_seconds', 'part, '),
          '{{part}}'
        ]),
        series(
          'Failures and promotions',
          'short',
          'In the last hour',
          [lastHour('mtmi_publish_failures_total'), 'failures'],
          [`sum by (task) (increase(mtmi_task_failures_total{${job}}[1h])) > 0`, 'failures of tasks, {{task}}'],
          [`sum by (task) (increase(mtmi_task_restarts_total{${job}}[1h])) > 0`, 'restarts of tasks, {{task}}'],
          [`sum by (outcome) (increase(mtmi_publish_promotions_total{${job}}[1h]))`, 'promotions {{outcome}}']
        )
      ],
      [
        series(
          'Trial of new weights',
          'percentunit',
          'On the newest targets: hits among the first 20, and how much of the lists stays',
          [`max by (weights) (mtmi_publish_gate_hit_rate_ratio{${job}})`, 'hit rate, {{weights}}'],
          [`min(mtmi_publish_gate_overlap_ratio{${job}})`, 'overlap'],
          [`max(mtmi_publish_gate_slide_ratio{${job}})`, 'lost since the best']
        ),
        series(
          'Verdicts',
          'short',
          'In the last hour; and 1 while weights are held back',
          [`sum by (outcome) (increase(mtmi_publish_gated_steps_total{${job}}[1h]))`, '{{outcome}}'],
          [`max(mtmi_publish_held_steps{${job}})`, 'held now']
        ),
        series('Time of a trial', 's', 'On the publishing thread, p99', [
          p99('mtmi_publish_gate_seconds', '', '15m'),
          'p99'
        ])
      ],
      [
        series('Requests to Qdrant', 'reqps', 'By what became of them', [
          `sum by (kind, outcome) (rate(mtmi_index_requests_total{${job}}[5m]))`,
          '{{kind}} {{outcome}}'
        ]),
        series('Time of a request to Qdrant', 's', 'Each attempt by itself, p99', [
          p99('mtmi_index_request_seconds', 'kind, '),
          '{{kind}}'
        ])
      ],
      [
        series('Requests', 'reqps', 'By route', [`job_route:mtmi_serve_request_seconds:rate5m{${job}}`, '{{route}}']),
        series(
          'Time of a request',
          's',
          'By route',
          [`job_route:mtmi_serve_request_seconds:p50_5m{${job}}`, '{{route}} p50'],
          [`job_route:mtmi_serve_request_seconds:p99_5m{${job}}`, '{{route}} p99']
        )
      ],
      [
        series('Click-through of lists', 'percentunit', 'Lists with a click, by variant (docs/experiments.md)', [
          `sum by (variant) (increase(mtmi_serve_clicked_lists_total{${job}, k="all"}[1h])) / (sum by (variant) (increase(mtmi_serve_lists_total{${job}}[1h])) > 0)`,
          '{{variant}}'
        ]),
        clicked('By index version', 'Lists with a click', 'version', 'mtmi_serve_version_lists_total'),
        clicked('By position', 'Items that were clicked', 'position', 'mtmi_serve_position_items_total'),
        clicked('By origin', 'Items that were clicked', 'origin', 'mtmi_serve_origin_items_total')
      ],
      [
        series('Lists', 'ops', 'By where they came from', [
          `sum by (source) (rate(mtmi_serve_lists_total{${job}}[5m]))`,
          '{{source}}'
        ]),
        account('Posted events', 'Posted, and by outcome', 'serve', 'posted'),
        series('Denied', 'ops', 'Requests without a token that is good for them', [
          `sum by (reason) (rate(mtmi_serve_denied_requests_total{${job}}[5m]))`,
          '{{reason}}'
        ]),
        series(
          'Being answered',
          'short',
          'Requests at this moment, and those rejected per second because too many are in work',
          [`sum(mtmi_serve_active_requests{${job}})`, 'requests'],
          [`sum by (kind) (rate(mtmi_serve_shed_requests_total{${job}}[5m]))`, 'rejected/s, {{kind}}']
        )
      ]
    ]
  }
]

/** Grafana divides a row into this many columns. */
const columns = 24
const heights = { stat: 4, timeseries: 8 }

/** @returns {string} the JSON that Grafana reads */
export function grafanaJson({ uid, title, rows }) {
  const panels = []
  let y = 0
  for (const row of rows) {
    const w = columns / row.length
    for (const [i, panel] of row.entries())
      panels.push(panelJson(panel, panels.length + 1, { x: i * w, y, w, h: heights[panel.type] }))
    y += heights[row[0].type]
  }
  const dashboard = {
    uid,
    title,
    tags: ['mtmi'],
    schemaVersion: 39,
    version: 1,
    editable: false,
    refresh: '30s',
    time: { from: 'now-3h', to: 'now' },
    links: [{ type: 'dashboards', title: 'MTMI', tags: ['mtmi'], asDropdown: true, includeVars: true, keepTime: true }],
    templating: {
      list: [
        {
          name: 'job',
          label: 'job',
          type: 'query',
          datasource,
          query: 'label_values(mtmi_build_info, job)',
          refresh: 1,
          current: { text: 'mtmi', value: 'mtmi' }
        }
      ]
    },
    panels
  }
  return `${JSON.stringify(dashboard, null, 2)}\n`
}

function panelJson({ type, title, unit, description, queries, thresholds }, id, gridPos) {
  const steps = [{ color: 'green', value: null }]
  if (thresholds !== undefined) {
    const { warn, bad } = thresholds
    if (bad < warn)
      steps.splice(
        0,
        1,
        { color: 'red', value: null },
        { color: 'yellow', value: bad },
        { color: 'green', value: warn }
      )
    else steps.push({ color: 'yellow', value: warn }, { color: 'red', value: bad })
  }
  return {
    id,
    type,
    title,
    description,
    gridPos,
    datasource,
    targets: queries.map(([expr, legendFormat], i) => ({
      refId: String.fromCharCode(65 + i),
      datasource,
      expr,
      legendFormat: legendFormat || '__auto',
      ...(type === 'stat' ? { instant: true } : { range: true })
    })),
    fieldConfig: {
      defaults: {
        unit,
        ...(type === 'stat'
          ? { thresholds: { mode: 'absolute', steps } }
          : { custom: { fillOpacity: 8, showPoints: 'never' }, min: unit === 'short' ? null : 0 })
      },
      overrides: []
    },
    options:
      type === 'stat'
        ? { colorMode: thresholds === undefined ? 'none' : 'value', graphMode: 'area' }
        : { tooltip: { mode: 'multi', sort: 'desc' } }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), 'dashboards')
  fs.mkdirSync(folder, { recursive: true })
  for (const dashboard of dashboards)
    fs.writeFileSync(path.join(folder, `${dashboard.uid}.json`), grafanaJson(dashboard))
}
