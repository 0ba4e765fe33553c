import { describe, expect, it } from 'vitest'
import { CHANGES_MAX, createFleet, LOOK_MAX } from '../src/core/fleet'
import type { Fleet } from '../src/core/types'
import { changeRow, fleetBytes, frameBytes, helloMap, messageBytes, regionRow } from './helper/encode'
import type { FrameParts } from './helper/encode'
import { Rig } from './helper/rig'

interface Setup {
  rig: Rig
  fleet: Fleet
  seq: number
}
async function up(cells: number[], regions: number[], tail: Record<string, unknown> = {}): Promise<Setup> {
  const rig = new Rig()
  const fleet = createFleet(rig.deps)
  fleet.start()
  rig.socket.hears(messageBytes(helloMap(1)))
  await rig.next('/v1/fleet')?.answer(200, fleetBytes({ seq: 1, cells, regions, tail }))
  return { rig, fleet, seq: 1 }
}
function tell(s: Setup, parts: Omit<FrameParts, 'seq'>): void {
  s.rig.socket.hears(frameBytes({ seq: ++s.seq, ...parts }))
}
async function again(s: Setup, cells: number[], regions: number[], tail = {}): Promise<void> {
  s.rig.socket.hears(messageBytes({ t: 'resync', why: 'slow' }))
  await s.rig.pass(250) // one after another is not asked for at once
  await s.rig.next('/v1/fleet')?.answer(200, fleetBytes({ seq: s.seq, cells, regions, tail }))
}
function fnv(bytes: readonly number[]): number {
  let h = 2166136261n
  for (const b of bytes) {
    h = ((h ^ BigInt(b)) * 16777619n) % (1n << 32n)
  }
  return Number(h)
}

describe('the store', () => {
  it('mirrors a naive model through frames and fleets', async () => {
    let r = 7
    const random = (n: number): number =>
      (r = (Math.imul(r, 1103515245) + 12345) & 0x7fffffff) % n
    const model = new Map<number, { cell: number; region: number }>()
    let count = 50
    for (let i = 0; i < count; i++) {
      model.set(i, { cell: 0x80 | random(64), region: random(5) })
    }
    const columns = (): [number[], number[]] => [
      Array.from({ length: count }, (_, i) => model.get(i)?.cell ?? 0),
      Array.from({ length: count }, (_, i) => model.get(i)?.region ?? 255),
    ]
    const s = await up(...columns())
    // A painter that believes nothing but `dirty`.
    const shadow: number[] = []
    let laidOut = 0
    s.fleet.subscribe(['layout'], () => laidOut++)
    s.fleet.subscribe(['cells'], () => {
      const { dirty, cells } = s.fleet
      if (dirty.all) {
        shadow.splice(0, shadow.length, ...cells.subarray(0, s.fleet.count))
      } else {
        for (const i of dirty.indices.subarray(0, dirty.count)) {
          shadow[i] = cells[i] as number
        }
      }
    })
    for (let round = 0; round < 400; round++) {
      const moves: [number, number, number][] = []
      const words: [number, number][] = []
      for (let k = random(4); k > 0; k--) {
        const i = random(count + 3 + (round % 50 === 0 ? 3000 : 0))
        count = Math.max(count, i + 1)
        if (random(3) === 0) {
          model.delete(i)
          moves.push([i, 255, 0])
        } else {
          const machine = { cell: 0x80 | random(64), region: random(5) }
          model.set(i, machine)
          moves.push([i, machine.region, machine.cell])
        }
      }
      for (let k = random(20); k > 0; k--) {
        const i = random(count)
        const machine = model.get(i)
        if (machine !== undefined) {
          machine.cell = 0x80 | random(64)
          words.push([i, machine.cell])
        }
      }
      if (round % 97 === 96) {
        await again(s, ...columns())
      } else {
        tell(s, { moves, words })
      }
      if (random(3) === 0) {
        s.rig.paint()
        expect(columns()[0].map((_, i) => shadow[i] ?? 0)).toEqual(columns()[0])
      }
      const [cells, regions] = columns()
      expect([...s.fleet.cells.subarray(0, s.fleet.count)]).toEqual(cells)
      expect([...s.fleet.regionOf.subarray(0, s.fleet.count)]).toEqual(regions)
      expect(s.fleet.machines).toBe(model.size)
      if (round % 20 === 0) {
        expect(s.fleet.hash()).toBe(fnv(cells))
      }
    }
    expect(s.fleet.gaps + s.fleet.unreadable).toBe(0)
    expect(laidOut).toBeGreaterThan(0)
  })

  it('applies nothing of a frame that does not fit', async () => {
    const s = await up([0x81, 0x82], [0, 0])
    tell(s, {
      words: [
        [0, 0x9f],
        [2, 0x81],
      ],
      tail: { r: [regionRow(0, 'SIN')] },
    })
    expect([...s.fleet.cells.subarray(0, 2)]).toEqual([0x81, 0x82])
    expect(s.fleet.regions).toEqual([])
    expect(s.fleet.unreadable).toBe(1)
    expect(s.rig.next('/v1/fleet')).toBeDefined()
  })

  it('calls a subscriber once a frame, for its parts only', async () => {
    const s = await up([0x81], [0])
    s.rig.paint()
    const calls = { cells: 0, regions: 0, layout: 0 }
    s.fleet.subscribe(['cells'], () => calls.cells++)
    const stop = s.fleet.subscribe(['regions', 'members'], () => calls.regions++)
    s.fleet.subscribe(['layout'], () => calls.layout++)
    for (let i = 0; i < 5; i++) {
      tell(s, { words: [[0, 0x82]] })
    }
    expect(calls).toEqual({ cells: 0, regions: 0, layout: 0 })
    s.rig.paint()
    expect(calls).toEqual({ cells: 1, regions: 0, layout: 0 })
    tell(s, { tail: { r: [regionRow(0, 'SIN')], m: [] } })
    s.rig.paint()
    expect(calls).toEqual({ cells: 1, regions: 1, layout: 0 })
    stop()
    tell(s, { moves: [[0, 1, 0x82]], tail: { r: [regionRow(0, 'SIN')] } })
    s.rig.paint()
    expect(calls).toEqual({ cells: 2, regions: 1, layout: 1 })
    // a heartbeat is nothing to look at
    tell(s, {})
    s.rig.paint()
    expect(calls).toEqual({ cells: 2, regions: 1, layout: 1 })
    // a fleet of the same machines moves nothing
    await again(s, [0x82], [1])
    s.rig.paint()
    expect(calls).toEqual({ cells: 3, regions: 1, layout: 1 })
    await again(s, [0x82], [2])
    s.rig.paint()
    expect(calls.layout).toBe(2)
  })

  it('keeps regions by index, new objects for those that changed', async () => {
    const s = await up([0x81], [0], { r: [regionRow(0, 'SIN'), regionRow(2, 'FRA')] })
    expect(s.fleet.regions.map((r) => r.code)).toEqual(['SIN', '', 'FRA'])
    const before = s.fleet.regions
    tell(s, { tail: { r: [regionRow(2, 'FRA', 7)] } })
    expect(s.fleet.regions).not.toBe(before)
    expect(s.fleet.regions[0]).toBe(before[0])
    expect(s.fleet.regions[2]?.machines).toBe(7)
  })

  it('has the latest changes once, newest first', async () => {
    const row = (seq: number): unknown[] => changeRow('00000a', seq)
    const s = await up([], [], { e: [row(1), row(2)] })
    tell(s, { tail: { e: [row(3), row(4)] } })
    await again(s, [], [], { e: [row(2), row(3), row(4), row(5)] })
    expect(s.fleet.changes.map((c) => c.seq)).toEqual([5, 4, 3, 2, 1])
    for (let seq = 6; seq < 400; seq += 2) {
      tell(s, { tail: { e: [row(seq), row(seq + 1)] } })
    }
    expect(s.fleet.changes.length).toBe(CHANGES_MAX)
    expect(s.fleet.changes[0]?.seq).toBe(399)
  })

  it('measures from the oldest change of what was painted to the next frame', async () => {
    const s = await up([0x81], [0])
    s.rig.paint()
    const at = s.rig.deps.wallMs()
    s.rig.nowMs += 10
    tell(s, { words: [[0, 0x83]], oldestMs: at })
    tell(s, { words: [[0, 0x84]], oldestMs: at + 8 })
    s.rig.nowMs += 5
    s.rig.paint()
    expect(s.fleet.latencyMs).toBe(0)
    expect(s.fleet.drawnMs).toBeCloseTo(15, 3)
    s.rig.nowMs += 16
    s.rig.paint()
    expect(s.fleet.latencyMs).toBeCloseTo(31, 3)
    expect(s.rig.frames.length).toBe(0)
  })
})

describe('looking', () => {
  const detail = (index: number, free: number): unknown[] => [index, `m${index}`, '00000a', 0, 8, free, 800, 300, false]
  const looks = (rig: Rig): unknown[] => rig.socket.said.filter((m) => (m as { t: string }).t === 'look')

  it('asks for the union of what all viewers look at, once a frame', async () => {
    const s = await up(Array<number>(600).fill(0x81), Array<number>(600).fill(0))
    s.rig.paint()
    s.fleet.look('table', [1, 2])
    s.fleet.look('tip', [2, 3])
    s.fleet.look('tip', [3, 2, 99999])
    expect(looks(s.rig)).toEqual([])
    s.rig.paint()
    expect(looks(s.rig)).toEqual([{ t: 'look', machines: [1, 2, 3] }])
    s.fleet.look('tip', [3])
    s.rig.paint()
    expect(looks(s.rig).length).toBe(1)
    s.rig.socket.hears(messageBytes({ t: 'detail', rows: [detail(1, 5), detail(2, 6), detail(3, 7)] }))
    const two = s.fleet.details.get(2)
    s.rig.socket.hears(messageBytes({ t: 'detail', rows: [detail(1, 4)] }))
    expect(s.fleet.details.get(1)?.coresFree).toBe(4)
    expect(s.fleet.details.get(2)).toBe(two)
    // what nobody looks at goes, and so does a machine that is gone
    s.fleet.look('table', [])
    s.rig.paint()
    expect([...s.fleet.details.keys()]).toEqual([3])
    expect(looks(s.rig).at(-1)).toEqual({ t: 'look', machines: [3] })
    tell(s, { moves: [[3, 255, 0]] })
    expect(s.fleet.details.size).toBe(0)
    s.fleet.look('many', Array.from({ length: 600 }, (_, i) => i))
    s.rig.paint()
    expect((looks(s.rig).at(-1) as { machines: number[] }).machines.length).toBe(LOOK_MAX)
  })

  it('says it again to a new socket, and after a new fleet', async () => {
    const s = await up([0x81, 0x81], [0, 0])
    s.fleet.look('tip', [1])
    s.rig.paint()
    await again(s, [0x81, 0x81], [0, 0])
    s.rig.paint()
    expect(looks(s.rig).length).toBe(2)
    s.rig.socket.events.closed(1006)
    expect(s.fleet.state).toBe('stale')
    await s.rig.pass(300)
    await s.rig.next('/v1/session')?.answer(200)
    s.rig.socket.hears(messageBytes(helloMap(9)))
    s.rig.paint()
    expect(looks(s.rig)).toEqual([{ t: 'look', machines: [1] }])
    expect(s.fleet.who).toEqual({ subject: 'ann', scopes: ['read', 'launch'], expiresMs: 1e12 })
    expect(s.fleet.node).toEqual({ name: 'n1', region: 'SIN', cluster: 'c'.repeat(32), version: '0.1.0' })
    s.rig.socket.events.closed(4401)
    expect(s.fleet.state).toBe('signedout')
    expect(s.fleet.who).toBeNull()
  })
})
