import { describe, expect, it } from 'vitest'
import { place, type Label, type Point } from '../src/lib/labels'

interface Box {
  left: number
  top: number
  right: number
  bottom: number
}
function boxOf(point: Point, label: Label): Box {
  return {
    left: label.x - point.width / 2,
    top: label.y - point.height / 2,
    right: label.x + point.width / 2,
    bottom: label.y + point.height / 2,
  }
}
function overlap(a: Box, b: Box): boolean {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
}
/** Points of a small generator with a seed: the same at every run. */
function crowd(n: number, side: number, seed: number): Point[] {
  let state = seed
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
  return Array.from({ length: n }, () => ({
    x: 100 + next() * side,
    y: 100 + next() * side,
    radius: 6,
    width: 24,
    height: 13,
    weight: Math.floor(next() * 3),
  }))
}

describe('labels', () => {
  for (const [what, points] of [
    ['few, apart', crowd(5, 600, 1)],
    ['as Europe crowds', crowd(9, 90, 2)],
    ['a real crowd', crowd(40, 160, 3)],
    ['everywhere', crowd(255, 700, 4)],
  ] as const) {
    it(`${what}: no label covers another, a marker, or leaves the map`, () => {
      const labels = place(points, 800, 800)
      const boxes = labels.flatMap((label, i) => (label === null ? [] : [boxOf(points[i] as Point, label)]))
      const markers = points.map((p) => ({
        left: p.x - p.radius,
        top: p.y - p.radius,
        right: p.x + p.radius,
        bottom: p.y + p.radius,
      }))
      let outside = 0
      let covered = 0
      for (const box of boxes) {
        outside += Number(!(box.left >= 0 && box.top >= 0 && box.right <= 800 && box.bottom <= 800))
        covered += [...boxes, ...markers].filter((other) => other !== box && overlap(box, other)).length
      }
      expect(boxes.length).toBeGreaterThan(0)
      expect({ outside, covered }).toEqual({ outside: 0, covered: 0 })
    })
  }
  it('places all of nine that crowd in 90 pixels', () => {
    expect(place(crowd(9, 90, 2), 800, 800).every((label) => label !== null)).toBe(true)
  })
  it('lets the weightier choose first, and keeps it near', () => {
    const base = { radius: 6, width: 24, height: 13 }
    const points: Point[] = [
      { ...base, x: 200, y: 200, weight: 0 },
      { ...base, x: 206, y: 200, weight: 9 },
    ]
    const labels = place(points, 400, 400)
    expect(labels[1]?.led).toBe(false)
    expect(labels[1]?.x).toBeGreaterThan(206)
  })
  it('has no place for what is off the map', () => {
    expect(place([{ x: -5, y: 10, radius: 2, width: 9, height: 9, weight: 1 }], 50, 50)).toEqual([null])
  })
})
