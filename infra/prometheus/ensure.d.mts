/** Paths, or why there are none and what to do. */
export function ensurePrometheus():
  | { readonly prometheus: string; readonly promtool: string }
  | { readonly missing: string }
