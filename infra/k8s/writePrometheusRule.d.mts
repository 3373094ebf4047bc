/** YAML of the operator's PrometheusRule. */
export function prometheusRule(): string
