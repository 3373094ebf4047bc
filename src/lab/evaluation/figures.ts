// How the figures of the evaluations are written, on a terminal and on a page.

/** Shares and metrics of 0 … 1, or their difference: `.123`, `−` as it comes; `–` where there is none. */
export function ratio(value: number | null, digits = 3): string {
  return value === null ? '–' : value.toFixed(digits).replace(/^(-?)0/, '$1')
}

export function percent(share: number | null): string {
  return share === null ? '–' : `${(100 * share).toFixed(1)}%`
}

export function number(value: number): string {
  return Math.round(value).toLocaleString('en')
}
