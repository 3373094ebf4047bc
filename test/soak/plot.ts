export interface Curve {
  readonly name: string
  readonly unit: string
  readonly points: readonly (readonly [x: number, y: number])[]
}

const width = 800
const height = 160
const margin = 40

/**
 * Curves below each other over one time, as SVG; each from 0 to its greatest value, so that a small slope looks small.
 * @param xName of the axis
 */
export function plot(curves: readonly Curve[], xName: string): string {
  const xMax = Math.max(1e-9, ...curves.flatMap(({ points }) => points.map(([x]) => x)))
  const parts = curves.map(({ name, unit, points }, i) => {
    const top = i * (height + margin) + margin
    const yMax = Math.max(1e-9, ...points.map(([, y]) => y))
    const path = points
      .map(([x, y]) => `${(margin + (x / xMax) * width).toFixed(1)},${(top + height - (y / yMax) * height).toFixed(1)}`)
      .join(' ')
    return [
      `<text x="${margin}" y="${top - 8}">${name}, 0 … ${yMax.toPrecision(4)} ${unit}</text>`,
      `<rect x="${margin}" y="${top}" width="${width}" height="${height}" fill="none" stroke="#ccc"/>`,
      `<polyline points="${path}" fill="none" stroke="#06c"/>`
    ].join('\n')
  })
  const bottom = curves.length * (height + margin) + margin
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width + 2 * margin}" height="${bottom + margin}" font-family="sans-serif" font-size="13">`,
    ...parts,
    `<text x="${margin}" y="${bottom}">${xName}, 0 … ${xMax.toPrecision(3)}</text>`,
    '</svg>',
    ''
  ].join('\n')
}
