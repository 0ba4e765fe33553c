import { describe, expect, it } from 'vitest'
import { blockAt, cellOf, layoutFleet, machineAt, stepFrom, type Step } from '../src/core/layout'
import { dirtyRuns } from '../src/core/paint'
import { cellPixels, levelColours, parseColour } from '../src/core/palette'
import { offsetAt, pickMachines, scrollHeight, topFor, EVERY } from '../src/core/pick'
import { takenPercent, takenText, bytesText } from '../src/core/words'

function randoms(seed: number): () => number {
  let s = seed
  return () => (s = (Math.imul(s, 1103515245) + 12345) & 0x7fffffff) / 0x80000000
}

/** Machines of `regions` regions, uneven ones, with holes. */
function fleetOf(machines: number, regions: number, seed: number): Uint8Array {
  const random = randoms(seed)
  return Uint8Array.from({ length: machines }, () =>
    random() < 0.05 ? 255 : Math.floor(random() ** 3 * regions),
  )
}

describe('the layout', () => {
  const cases: [machines: number, regions: number, width: number, height: number][] = [
    [0, 1, 1200, 700],
    [1, 1, 1200, 700],
    [9, 3, 1200, 700],
    [9, 3, 40, 30],
    [500, 40, 390, 600],
    [5000, 3, 1200, 700],
    [5000, 255, 1200, 700],
    [100000, 12, 1240, 740],
    [100000, 1, 1240, 740],
    [100000, 40, 360, 500],
    [20000, 255, 1240, 740],
  ]
  it.each(cases)('of %i machines in %i regions on %i x %i gives every machine one cell', (machines, regions, width, height) => {
    const regionOf = fleetOf(machines, regions, machines + regions)
    const layout = layoutFleet(regionOf, machines, width, height)
    const seen = new Uint8Array(layout.columns * layout.rows)
    let wrong = 0
    let shown = 0
    for (let i = 0; i < machines; i++) {
      const cell = cellOf(layout, i)
      if (regionOf[i] === 255) {
        wrong += cell === null ? 0 : 1
        continue
      }
      if (cell === null || cell.x >= layout.columns || cell.y >= layout.rows) {
        wrong++
        continue
      }
      shown++
      const texel = cell.y * layout.columns + cell.x
      wrong += seen[texel] === 0 ? 0 : 1
      seen[texel] = 1
      wrong += machineAt(layout, cell.x + 0.5, cell.y + 0.99) === i ? 0 : 1
      wrong += blockAt(layout, cell.x, cell.y)?.region === regionOf[i] ? 0 : 1
    }
    expect(wrong).toBe(0)
    expect(layout.order.length).toBe(shown)
    // What is no machine's hits none.
    let hit = 0
    for (let texel = 0; texel < seen.length; texel++) {
      const x = texel % layout.columns
      hit += machineAt(layout, x, Math.floor(texel / layout.columns)) === null ? 0 : 1
    }
    expect(hit).toBe(shown)
    // All of it is on the stage, unless a cell is down to a pixel; blocks keep apart and inside.
    if (layout.cellPx > 1) {
      expect(layout.rows * layout.cellPx).toBeLessThanOrEqual(height)
    }
    for (const block of layout.blocks) {
      expect(block.x + block.width).toBeLessThanOrEqual(layout.columns)
      expect(block.y + block.height).toBeLessThanOrEqual(layout.rows)
      expect(block.y).toBeGreaterThanOrEqual(layout.labelRows)
    }
  })

  it('shows a million on a large screen, a pixel each', () => {
    const regionOf = fleetOf(1_000_000, 12, 5)
    const layout = layoutFleet(regionOf, 1_000_000, 1240, 740)
    expect(layout.cellPx).toBe(1)
    expect(layout.rows).toBeLessThan(950)
  })

  it('shows one region alone, larger', () => {
    const regionOf = fleetOf(100_000, 12, 6)
    const all = layoutFleet(regionOf, 100_000, 1240, 740)
    const one = layoutFleet(regionOf, 100_000, 1240, 740, 3)
    expect(one.blocks.map((b) => b.region)).toEqual([3])
    expect(one.cellPx).toBeGreaterThan(all.cellPx)
    expect(cellOf(one, regionOf.indexOf(2))).toBeNull()
    expect(cellOf(one, 1 << 20)).toBeNull()
  })

  it('is left alone by what a machine does not move', () => {
    const regionOf = fleetOf(1000, 3, 7)
    expect(layoutFleet(regionOf, 1000, 800, 600)).toEqual(layoutFleet(regionOf.slice(), 1000, 800, 600))
  })

  it('leads a keyboard everywhere', () => {
    const regionOf = fleetOf(2000, 7, 8)
    const layout = layoutFleet(regionOf, 2000, 800, 600)
    expect(stepFrom(layout, null, 'down')).toBe(layout.order[0])
    expect(stepFrom(layout, 1 << 20, 'up')).toBe(layout.order[0])
    // right visits all, once, in order; left comes back
    let at: number | null = null
    for (const index of layout.order) {
      at = stepFrom(layout, at, 'right')
      expect(at).toBe(index)
    }
    expect(stepFrom(layout, at, 'right')).toBe(at)
    for (let k = layout.order.length - 2; k >= 0; k--) {
      at = stepFrom(layout, at, 'left')
      expect(at).toBe(layout.order[k])
    }
    // down and up always go that way, or stay at the edge
    const steps: [Step, (dy: number) => boolean][] = [
      ['down', (dy) => dy > 0],
      ['up', (dy) => dy < 0],
    ]
    for (const [step, right] of steps) {
      let stays = 0
      for (const index of layout.order) {
        const to = stepFrom(layout, index, step) as number
        const dy = (cellOf(layout, to)?.y ?? 0) - (cellOf(layout, index)?.y ?? 0)
        stays += to === index ? 1 : 0
        expect(to === index || right(dy)).toBe(true)
      }
      expect(stays).toBeGreaterThan(0)
      expect(stays).toBeLessThan(layout.order.length / 4)
    }
    const first = layout.blocks[0]
    const second = layout.blocks[1]
    const end = (first?.start ?? 0) + (first?.count ?? 0) - 1
    expect(stepFrom(layout, layout.order[0] ?? 0, 'last')).toBe(layout.order[end])
    expect(stepFrom(layout, layout.order[end] ?? 0, 'first')).toBe(layout.order[0])
    expect(stepFrom(layout, layout.order[end] ?? 0, 'next')).toBe(layout.order[second?.start ?? 0])
    expect(stepFrom(layout, layout.order[second?.start ?? 0] ?? 0, 'previous')).toBe(layout.order[0])
  })
})

describe('painting', () => {
  it('gives the canvas every row that changed, and few that did not', () => {
    const random = randoms(3)
    for (let round = 0; round < 200; round++) {
      const rows = Uint8Array.from({ length: 60 }, () => (random() < 0.1 ? 1 : 0))
      const bridge = Math.floor(random() * 5)
      const runs = dirtyRuns(rows, bridge)
      const covered = new Uint8Array(60)
      for (const [first, end] of runs) {
        expect(rows[first]).toBe(1)
        expect(rows[end - 1]).toBe(1)
        covered.fill(1, first, end)
        let gap = 0
        for (let y = first; y < end; y++) {
          gap = rows[y] === 1 ? 0 : gap + 1
          expect(gap).toBeLessThanOrEqual(bridge)
        }
      }
      expect(rows.every((dirty, y) => dirty === 0 || covered[y] === 1)).toBe(true)
    }
    expect(dirtyRuns(new Uint8Array(5), 2)).toEqual([])
  })

  it('has a colour for every cell, none for a hole, and tells cordoned by alpha', () => {
    const stops = ['#000', '#102030', 'rgb(40, 50, 60)', '#ffffff', '#ff0000'].map((c) => parseColour(c))
    const levels = levelColours(stops.map((c) => c ?? [0, 0, 0]))
    expect(levels.length).toBe(32)
    expect(levels[0]).toEqual([0, 0, 0])
    expect(levels[1]).toEqual([16, 32, 48])
    expect(levels[18]).toEqual([40, 50, 60])
    expect(levels[26]).toEqual([255, 255, 255])
    expect(levels[31]).toEqual([255, 0, 0])
    const pixels = new Uint8Array(cellPixels(levels, [1, 2, 3]).buffer)
    expect([...pixels.slice(4 * 0x9f, 4 * 0x9f + 4)]).toEqual([255, 0, 0, 255])
    expect(pixels[4 * 0xbf + 3]).toBe(254)
    expect(pixels.slice(0, 4 * 0x80).every((b) => b === 0)).toBe(true)
    expect(parseColour('tomato')).toBeNull()
  })

  it('says what a level means', () => {
    expect(takenText(0x80)).toBe('nothing taken')
    expect(takenText(0x9f)).toBe('full')
    for (let taken = 1; taken < 1000; taken++) {
      const level = 1 + Math.floor((29 * taken) / 1000)
      expect(Math.abs(takenPercent(0x80 | level) - taken / 10)).toBeLessThanOrEqual(3)
    }
    expect([0, 999, 1000, 1999, 64e9, 6e9, 1.5e12].map(bytesText)).toEqual([
      '0 B', '999 B', '1 kB', '1.99 kB', '64 GB', '6 GB', '1.5 TB',
    ])
  })
})

describe('picking', () => {
  const random = randoms(11)
  const count = 3000
  const regionOf = fleetOf(count, 5, 12)
  const cells = Uint8Array.from(regionOf, (r) =>
    r === 255 ? 0 : 0x80 | (random() < 0.2 ? 0x20 : 0) | Math.floor(random() * 32),
  )
  const columns = { cells, regionOf, count }
  const byHand = (keep: (i: number) => boolean, key: (i: number) => number): number[] =>
    Array.from({ length: count }, (_, i) => i)
      .filter((i) => cells[i] !== 0 && keep(i))
      .sort((a, b) => key(a) - key(b) || a - b)
  it('is filtering and sorting', () => {
    const level = (i: number): number => (cells[i] as number) & 31
    expect([...pickMachines(columns, EVERY)]).toEqual(byHand(() => true, (i) => i))
    expect([...pickMachines(columns, { ...EVERY, down: true })]).toEqual(byHand(() => true, (i) => -i))
    expect([...pickMachines(columns, { ...EVERY, sort: 'level', down: true })]).toEqual(
      byHand(() => true, (i) => -level(i)),
    )
    expect([...pickMachines(columns, { ...EVERY, sort: 'region', cordoned: true })]).toEqual(
      byHand((i) => ((cells[i] as number) & 0x20) !== 0, (i) => regionOf[i] as number),
    )
    expect([...pickMachines(columns, { ...EVERY, region: 2, levelMin: 5, levelMax: 9, sort: 'level' })]).toEqual(
      byHand((i) => regionOf[i] === 2 && level(i) >= 5 && level(i) <= 9, level),
    )
    const some = [5, 6, 7, 2999, 100000].filter((i) => i >= count || cells[i] !== 0)
    expect([...pickMachines(columns, { ...EVERY, among: some })]).toEqual(some.filter((i) => i < count))
  })
  it('scrolls over more rows than a browser can', () => {
    for (const rows of [0, 10, 1000, 1_000_000]) {
      const height = scrollHeight(rows, 30)
      const last = Math.max(0, height - 500)
      expect(height).toBeLessThanOrEqual(8_000_000)
      expect(offsetAt(0, rows, 30, 500)).toBe(0)
      expect(offsetAt(last, rows, 30, 500)).toBeCloseTo(Math.max(0, rows * 30 - 500), 3)
      expect(topFor(offsetAt(last / 3, rows, 30, 500), rows, 30, 500)).toBeCloseTo(last / 3, 3)
    }
  })
})
