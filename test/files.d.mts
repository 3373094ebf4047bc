export const units: readonly string[]
