export interface DashboardTable {
  readonly uid: string
  readonly title: string
  readonly rows: readonly (readonly {
    readonly title: string
    readonly queries: readonly (readonly [expr: string, legend: string])[]
  }[])[]
}
export const dashboards: readonly DashboardTable[]
/** The JSON that Grafana reads. */
export function grafanaJson(dashboard: DashboardTable): string
