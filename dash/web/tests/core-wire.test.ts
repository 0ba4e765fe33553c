import { describe, expect, it } from 'vitest'
import { decodeFleet, decodeMessage, WireError } from '../src/core/wire'
import {
  BOOT,
  changeRow,
  fleetBytes,
  frameBytes,
  helloMap,
  messageBytes,
  regionRow,
} from './helper/encode'

function cut(buffer: ArrayBuffer, bytes: number): ArrayBuffer {
  return buffer.slice(0, buffer.byteLength - bytes)
}
function poke(buffer: ArrayBuffer, at: number, value: number): ArrayBuffer {
  const copy = buffer.slice(0)
  new Uint8Array(copy)[at] = value
  return copy
}
function longer(buffer: ArrayBuffer): ArrayBuffer {
  const copy = new Uint8Array(buffer.byteLength + 1)
  copy.set(new Uint8Array(buffer))
  return copy.buffer
}

const memberRow = [
  'n1', 'SIN', 'peer,edge', 'alive', true, false, '10.0.0.1:7401', '0.1.0', '', 250, 5, 3,
  [['00000a', 7]],
]
const full = frameBytes({
  seq: 0xfffffffe,
  flags: 1,
  oldestMs: 1_700_000_000_123.25,
  words: [
    [0, 0x80],
    [1048575, 0xbf],
    [7, 0],
  ],
  moves: [
    [9, 254, 0x85],
    [8, 255, 0],
  ],
  tail: { r: [regionRow(3, 'SIN')], e: [changeRow('00000a', 5)], m: [memberRow], x: 12 },
})

describe('a frame', () => {
  it('is read as it was written', () => {
    const f = decodeMessage(full)
    if (f.kind !== 'frame') {
      throw new Error(f.kind)
    }
    expect(f.seq).toBe(0xfffffffe)
    expect(f.resync).toBe(true)
    expect(f.oldestMs).toBe(1_700_000_000_123.25)
    expect([...f.words].map((w) => [w >>> 8, w & 255])).toEqual([
      [0, 0x80],
      [1048575, 0xbf],
      [7, 0],
    ])
    expect([...f.moveIndex]).toEqual([9, 8])
    expect([...f.moveRegion]).toEqual([254, 255])
    expect([...f.moveCell]).toEqual([0x85, 0])
    expect(f.tail.skipped).toBe(12)
    expect(f.tail.regions).toEqual([
      {
        index: 3, code: 'SIN', city: 'City', country: 'Land', status: 'operational', latitude: 1.5,
        longitude: -2.5, machines: 1, cordoned: 0, coresTotal: 8, coresFree: 4, memoryTotal: 800,
        memoryFree: 400, staleMs: 0,
      },
    ])
    expect(f.tail.changes?.[0]).toMatchObject({ slice: '00000a', seq: 5, type: 'vm_started', machine: 'm1' })
    expect(f.tail.members?.[0]).toMatchObject({ name: 'n1', state: 'alive', slices: [{ slice: '00000a', epoch: 7 }] })
  })

  it('of a heartbeat has nothing in it', () => {
    const f = decodeMessage(frameBytes({ seq: 1 }))
    expect(f).toMatchObject({ kind: 'frame', seq: 1, resync: false, oldestMs: 0 })
    expect(f.kind === 'frame' && f.words.length + f.moveIndex.length).toBe(0)
  })

  it('takes a position that is not known, and rows longer than it knows', () => {
    const row = [...regionRow(0, 'SIN'), 'later']
    row[5] = null
    row[6] = null
    const f = decodeMessage(frameBytes({ seq: 1, tail: { r: [row], later: 1 } }))
    expect(f.kind === 'frame' && f.tail.regions?.[0]).toMatchObject({ latitude: null, longitude: null })
  })

  const wordAt = 28
  const moveAt = 28 + 12
  const bad: [what: string, bytes: ArrayBuffer][] = [
    ['nothing', new ArrayBuffer(0)],
    ['half a head', full.slice(0, 27)],
    ['another kind', poke(full, 0, 3)],
    ['another version', poke(full, 1, 2)],
    ['one byte short', cut(full, 1)],
    ['one byte long', longer(full)],
    ['more words than there are', poke(full, 16, 4)],
    ['words without end', poke(full, 19, 0xff)],
    ['moves without end', poke(full, 23, 0xff)],
    ['a tail without end', poke(full, 27, 0xff)],
    ['a cell that is none', poke(full, wordAt, 0x05)],
    ['a cell with a strange bit', poke(full, wordAt, 0xc0)],
    ['an index past all machines', poke(full, wordAt + 3, 0x10)],
    ['a move of an index past all machines', poke(full, moveAt + 2, 0x10)],
    ['a move to no region with a cell', poke(full, moveAt + 4, 255)],
    ['a move to a region without a cell', poke(full, moveAt + 5, 0)],
    ['an oldest event before all time', frameBytes({ seq: 1, oldestMs: -1 })],
    ['an oldest event at no time', frameBytes({ seq: 1, oldestMs: NaN })],
    ['a tail that is not msgpack', poke(frameBytes({ seq: 1, tail: {} }), 28, 0xc1)],
    ['a tail that is a number', poke(frameBytes({ seq: 1, tail: {} }), 28, 1)],
    ['regions that are no list', frameBytes({ seq: 1, tail: { r: 1 } })],
    ['a region that is no list', frameBytes({ seq: 1, tail: { r: [1] } })],
    ['a region cut short', frameBytes({ seq: 1, tail: { r: [regionRow(0, 'SIN').slice(0, 13)] } })],
    ['a region whose code is a number', frameBytes({ seq: 1, tail: { r: [[0, 1]] } })],
    ['a region of index 255', frameBytes({ seq: 1, tail: { r: [regionRow(255, 'SIN')] } })],
    ['a region of index -1', frameBytes({ seq: 1, tail: { r: [regionRow(-1, 'SIN')] } })],
    ['a region of index 0.5', frameBytes({ seq: 1, tail: { r: [regionRow(0.5, 'SIN')] } })],
    ['a change cut short', frameBytes({ seq: 1, tail: { e: [changeRow('a', 1).slice(0, 9)] } })],
    ['a member in no state', frameBytes({ seq: 1, tail: { m: [['n1', 'SIN', '', 'well']] } })],
    ['a count of left out changes that is text', frameBytes({ seq: 1, tail: { x: 'many' } })],
  ]
  it.each(bad)('with %s is refused', (_what, bytes) => {
    expect(() => decodeMessage(bytes)).toThrow(WireError)
  })

  it('cut anywhere is refused', () => {
    for (let size = 0; size < full.byteLength; size++) {
      expect(() => decodeMessage(full.slice(0, size))).toThrow(WireError)
    }
  })
})

describe('a message', () => {
  it('is read by its t', () => {
    expect(decodeMessage(messageBytes(helloMap(7)))).toMatchObject({
      kind: 'hello', boot: BOOT, seq: 7, node: 'n1', scopes: ['read', 'launch'], paceMs: 16,
    })
    const rows = [[4, 'm4', '00000a', 2, 8, 3, 800, 300, true]]
    expect(decodeMessage(messageBytes({ t: 'detail', rows }))).toEqual({
      kind: 'detail',
      rows: [
        { index: 4, name: 'm4', slice: '00000a', region: 2, cores: 8, coresFree: 3, memory: 800, memoryFree: 300, cordoned: true },
      ],
    })
    expect(decodeMessage(messageBytes({ t: 'resync', why: 'slow' }))).toEqual({ kind: 'resync', why: 'slow' })
    expect(decodeMessage(messageBytes({ t: 'later' }))).toEqual({ kind: 'unknown' })
  })
  const bad: [what: string, map: Record<string, unknown>][] = [
    ['no t', {}],
    ['a t that is a number', { t: 1 }],
    ['a hello without boot', { ...helloMap(1), boot: undefined }],
    ['scopes that are numbers', { ...helloMap(1), scopes: [1] }],
    ['rows that are none', { t: 'detail', rows: 1 }],
    ['a machine past all', { t: 'detail', rows: [[1 << 20, 'm', 'a', 0, 1, 1, 1, 1, false]] }],
    ['a cordon that is no flag', { t: 'detail', rows: [[1, 'm', 'a', 0, 1, 1, 1, 1, 1]] }],
  ]
  it.each(bad)('with %s is refused', (_what, map) => {
    expect(() => decodeMessage(messageBytes(map))).toThrow(WireError)
  })
})

describe('a fleet', () => {
  const whole = fleetBytes({ seq: 9, cells: [0x81, 0, 0xa0], regions: [0, 255, 1], tail: { r: [regionRow(0, 'SIN')] } })
  it('is read as it was written', () => {
    const s = decodeFleet(whole)
    expect(s).toMatchObject({ boot: BOOT, seq: 9, count: 3 })
    expect([...s.cells]).toEqual([0x81, 0, 0xa0])
    expect([...s.regionOf]).toEqual([0, 255, 1])
    expect(s.tail.regions?.length).toBe(1)
    expect(decodeFleet(fleetBytes({ seq: 1, cells: [], regions: [] })).count).toBe(0)
  })
  const bad: [what: string, bytes: ArrayBuffer][] = [
    ['nothing', new ArrayBuffer(0)],
    ['another name', poke(whole, 0, 0x47)],
    ['another version', poke(whole, 4, 2)],
    ['one machine more', poke(whole, 20, 4)],
    ['machines without end', poke(whole, 23, 0xff)],
    ['a tail without end', poke(whole, 27, 0xff)],
    ['one byte short', cut(whole, 1)],
    ['one byte long', longer(whole)],
    ['a cell that is none', poke(whole, 28, 3)],
    ['a hole in a region', poke(whole, 32, 0)],
    ['a machine in no region', poke(whole, 31, 255)],
  ]
  it.each(bad)('with %s is refused', (_what, bytes) => {
    expect(() => decodeFleet(bytes)).toThrow(WireError)
  })
})
