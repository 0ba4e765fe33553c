/*
 * labels - where the names on a map go, so that none covers another, or a marker. Greedy: those
 * that matter most choose first, each takes the nearest free place around its point, and one that
 * had to go away from it gets a line back. Pure; O(n² · places), n is at most 255.
 */
export interface Point {
  readonly x: number
  readonly y: number
  /** Of its marker. */
  readonly radius: number
  readonly width: number
  readonly height: number
  /** Higher chooses first. */
  readonly weight: number
}

export interface Label {
  /** Centre of the text. */
  readonly x: number
  readonly y: number
  /** A line from the marker is needed. */
  readonly led: boolean
}

interface Box {
  readonly left: number
  readonly top: number
  readonly right: number
  readonly bottom: number
}

const GAP = 2
const REACHES = [0, 8, 16, 26, 38, 52, 68]
/** Right, left, above, below first: the eye looks there. */
const TURNS = [0, 8, 12, 4, 14, 2, 10, 6, 15, 1, 13, 3, 9, 7, 11, 5].map((turn) => (turn / 16) * 2 * Math.PI)

function apart(a: Box, b: Box): boolean {
  return a.right + GAP <= b.left || b.right + GAP <= a.left || a.bottom + GAP <= b.top || b.bottom + GAP <= a.top
}

/** A place for each point, in the points' order; null: none was free within reach. */
export function place(points: readonly Point[], width: number, height: number): (Label | null)[] {
  const out: (Label | null)[] = points.map(() => null)
  const taken: Box[] = points.map((p) => ({
    left: p.x - p.radius,
    top: p.y - p.radius,
    right: p.x + p.radius,
    bottom: p.y + p.radius,
  }))
  const lines: [number, number, number, number][] = []
  const order = points.map((_, i) => i).sort((a, b) => (points[b]?.weight ?? 0) - (points[a]?.weight ?? 0) || a - b)
  for (const i of order) {
    const p = points[i]
    if (p === undefined || p.x < 0 || p.y < 0 || p.x > width || p.y > height) {
      continue
    }
    search: for (const reach of REACHES) {
      for (const turn of TURNS) {
        const cos = Math.cos(turn)
        const sin = Math.sin(turn)
        const x = p.x + cos * (p.radius + GAP + reach + p.width / 2)
        const y = p.y + sin * (p.radius + GAP + reach + p.height / 2)
        const box = { left: x - p.width / 2, top: y - p.height / 2, right: x + p.width / 2, bottom: y + p.height / 2 }
        if (box.left < 0 || box.top < 0 || box.right > width || box.bottom > height) {
          continue
        }
        const led = reach > 8
        if (
          taken.every((other) => apart(box, other)) &&
          lines.every((line) => !crosses(line, box)) &&
          (!led || lines.every((line) => !cross(line, [p.x, p.y, x, y])))
        ) {
          out[i] = { x, y, led }
          taken.push(box)
          if (led) {
            lines.push([p.x, p.y, x, y])
          }
          break search
        }
      }
    }
  }
  return out
}

type Line = readonly [number, number, number, number]

/** Whether two line segments cross. */
function cross(a: Line, b: Line): boolean {
  const side = (l: Line, x: number, y: number): number => (l[2] - l[0]) * (y - l[1]) - (l[3] - l[1]) * (x - l[0])
  return (
    side(a, b[0], b[1]) * side(a, b[2], b[3]) < 0 && side(b, a[0], a[1]) * side(b, a[2], a[3]) < 0
  )
}

function crosses(line: Line, box: Box): boolean {
  const { left, top, right, bottom } = box
  return cross(line, [left, top, right, bottom]) || cross(line, [left, bottom, right, top])
}
