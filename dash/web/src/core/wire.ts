/*
 * wire - the dash's bytes, decoded: FRAME, MESSAGE and FLEET of docs/DASH.md ("The wire").
 *
 * Everything is checked before anything is returned: a message that is not whole and right throws
 * WireError, so nothing of it can have been applied. The columns are views on the message's own
 * buffer: no copy of a frame's words is made. Pure: no socket, clock, document.
 */
import { decode } from '@msgpack/msgpack'
import { CELL_CORDONED, CELL_LEVEL, CELL_MACHINE } from './types'
import type { Change, Detail, Member, MemberSlice, Region } from './types'

export const FRAME_KIND = 1
export const MESSAGE_KIND = 2
export const FRAME_HEAD_BYTES = 28
export const FLEET_HEAD_BYTES = 28
export const MOVE_BYTES = 8
export const WIRE_VERSION = 1
export const FLAG_RESYNC = 1
/** As in dash/core/picture.h. */
export const MACHINES_MAX = 1 << 20
export const REGION_NONE = 255

/** What came is not what docs/DASH.md says; nothing of it was applied. */
export class WireError extends Error {
  override readonly name = 'WireError'
}

/** What changed beside cells. Null: it was not in the message. */
export interface Tail {
  readonly regions: readonly Region[] | null
  /** Oldest first. */
  readonly changes: readonly Change[] | null
  readonly members: readonly Member[] | null
  /** Changes that were left out of `changes`. */
  readonly skipped: number
}
export interface Frame {
  readonly kind: 'frame'
  readonly seq: number
  readonly resync: boolean
  readonly oldestMs: number
  /** index << 8 | cell */
  readonly words: Uint32Array
  /** Three columns of the same length. Region REGION_NONE: the machine is gone. */
  readonly moveIndex: Uint32Array
  readonly moveRegion: Uint8Array
  readonly moveCell: Uint8Array
  readonly tail: Tail
}
export interface Hello {
  readonly kind: 'hello'
  readonly boot: string
  readonly seq: number
  readonly node: string
  readonly region: string
  readonly cluster: string
  readonly version: string
  readonly subject: string
  readonly scopes: readonly string[]
  readonly expiresMs: number
  readonly paceMs: number
}
export interface DetailMessage {
  readonly kind: 'detail'
  readonly rows: readonly Detail[]
}
export interface ResyncMessage {
  readonly kind: 'resync'
  readonly why: string
}
/** A kind of MESSAGE that a later dash may say: nothing to do. */
export interface UnknownMessage {
  readonly kind: 'unknown'
}
export type Message = Hello | DetailMessage | ResyncMessage | UnknownMessage
export interface Snapshot {
  readonly boot: string
  readonly seq: number
  readonly count: number
  readonly cells: Uint8Array
  readonly regionOf: Uint8Array
  readonly tail: Tail
}

const NO_TAIL: Tail = { regions: null, changes: null, members: null, skipped: 0 }
const NO_WORDS = new Uint32Array(0)
const NO_BYTES = new Uint8Array(0)
const LITTLE = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1
// Bits that a cell never has: 0x40 is nobody's.
const CELL_ALIEN = 0xff & ~(CELL_LEVEL | CELL_CORDONED | CELL_MACHINE)

function fail(what: string): never {
  throw new WireError(what)
}

function isCell(cell: number): boolean {
  return cell === 0 || (cell & (CELL_MACHINE | CELL_ALIEN)) === CELL_MACHINE
}

/** One binary message of the WebSocket. */
export function decodeMessage(buffer: ArrayBuffer): Frame | Message {
  if (buffer.byteLength < 1) {
    fail('empty message')
  }
  const kind = new DataView(buffer).getUint8(0)
  if (kind === FRAME_KIND) {
    return decodeFrame(buffer)
  }
  if (kind === MESSAGE_KIND) {
    return decodeText(unpack(new Uint8Array(buffer, 1)))
  }
  return fail(`unknown kind ${kind}`)
}

function decodeFrame(buffer: ArrayBuffer): Frame {
  const size = buffer.byteLength
  if (size < FRAME_HEAD_BYTES) {
    fail(`frame of ${size} bytes`)
  }
  const view = new DataView(buffer)
  if (view.getUint8(1) !== WIRE_VERSION) {
    fail(`frame of version ${view.getUint8(1)}`)
  }
  const wordCount = view.getUint32(16, true)
  const moveCount = view.getUint32(20, true)
  const tailBytes = view.getUint32(24, true)
  // Numbers are doubles: the sum of three u32 times 8 does not wrap.
  if (FRAME_HEAD_BYTES + 4 * wordCount + MOVE_BYTES * moveCount + tailBytes !== size) {
    fail(`frame of ${size} bytes says ${wordCount} words, ${moveCount} moves, ${tailBytes} more`)
  }
  const oldestMs = view.getFloat64(8, true)
  if (!(oldestMs >= 0 && Number.isFinite(oldestMs))) {
    fail('frame whose oldest event has no time')
  }
  const words = wordsOf(buffer, FRAME_HEAD_BYTES, wordCount)
  const moves = movesOf(view, FRAME_HEAD_BYTES + 4 * wordCount, moveCount)
  const tail = tailBytes === 0 ? NO_TAIL : tailOf(new Uint8Array(buffer, size - tailBytes))
  return {
    kind: 'frame',
    seq: view.getUint32(4, true),
    resync: (view.getUint16(2, true) & FLAG_RESYNC) !== 0,
    oldestMs,
    words,
    ...moves,
    tail,
  }
}

function wordsOf(buffer: ArrayBuffer, at: number, count: number): Uint32Array {
  if (count === 0) {
    return NO_WORDS
  }
  let words: Uint32Array
  if (LITTLE) {
    words = new Uint32Array(buffer, at, count)
  } else {
    const view = new DataView(buffer)
    words = Uint32Array.from({ length: count }, (_, i) => view.getUint32(at + 4 * i, true))
  }
  for (let i = 0; i < count; i++) {
    const word = words[i] as number
    if (word >>> 8 >= MACHINES_MAX || !isCell(word & 0xff)) {
      fail(`word ${i}: index ${word >>> 8}, cell ${word & 0xff}`)
    }
  }
  return words
}

function movesOf(view: DataView, at: number, count: number) {
  if (count === 0) {
    return { moveIndex: NO_WORDS, moveRegion: NO_BYTES, moveCell: NO_BYTES }
  }
  const moveIndex = new Uint32Array(count)
  const moveRegion = new Uint8Array(count)
  const moveCell = new Uint8Array(count)
  for (let i = 0; i < count; i++) {
    const index = view.getUint32(at + MOVE_BYTES * i, true)
    const region = view.getUint8(at + MOVE_BYTES * i + 4)
    const cell = view.getUint8(at + MOVE_BYTES * i + 5)
    // A hole has no region, and what has no region is a hole.
    if (index >= MACHINES_MAX || !isCell(cell) || (cell === 0) !== (region === REGION_NONE)) {
      fail(`move ${i}: index ${index}, region ${region}, cell ${cell}`)
    }
    moveIndex[i] = index
    moveRegion[i] = region
    moveCell[i] = cell
  }
  return { moveIndex, moveRegion, moveCell }
}

/** The answer of GET /v1/fleet. */
export function decodeFleet(buffer: ArrayBuffer): Snapshot {
  const size = buffer.byteLength
  if (size < FLEET_HEAD_BYTES) {
    fail(`fleet of ${size} bytes`)
  }
  const view = new DataView(buffer)
  if (view.getUint32(0, false) !== 0x464c5946 /* "FLYF" */) {
    fail('not a fleet')
  }
  if (view.getUint32(4, true) !== WIRE_VERSION) {
    fail(`fleet of version ${view.getUint32(4, true)}`)
  }
  const count = view.getUint32(20, true)
  const tailBytes = view.getUint32(24, true)
  if (count > MACHINES_MAX || FLEET_HEAD_BYTES + 2 * count + tailBytes !== size) {
    fail(`fleet of ${size} bytes says ${count} machines, ${tailBytes} more`)
  }
  const cells = new Uint8Array(buffer, FLEET_HEAD_BYTES, count)
  const regionOf = new Uint8Array(buffer, FLEET_HEAD_BYTES + count, count)
  for (let i = 0; i < count; i++) {
    if (!isCell(cells[i] as number) || (cells[i] === 0) !== (regionOf[i] === REGION_NONE)) {
      fail(`machine ${i}: region ${regionOf[i]}, cell ${cells[i]}`)
    }
  }
  const tail = tailBytes === 0 ? NO_TAIL : tailOf(new Uint8Array(buffer, size - tailBytes))
  const boot = view.getBigUint64(8, true).toString(16).padStart(16, '0')
  return { boot, seq: view.getUint32(16, true), count, cells, regionOf, tail }
}

/* --- msgpack --- */

type Bag = Readonly<Record<string, unknown>>

function unpack(bytes: Uint8Array): Bag {
  let value: unknown
  try {
    value = decode(bytes, { maxArrayLength: 1 << 16, maxMapLength: 1024 })
  } catch (error) {
    fail(`not msgpack: ${String(error)}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    fail('not a map')
  }
  return value as Bag
}

/** Takes a row's values one after another; a row may be longer than this page knows. */
class Row {
  private at = 0
  constructor(
    private readonly values: readonly unknown[],
    private readonly what: string,
  ) {}
  text(): string {
    const v = this.values[this.at++]
    return typeof v === 'string' ? v : this.wrong('text')
  }
  number(): number {
    const v = this.values[this.at++]
    return typeof v === 'number' && Number.isFinite(v) ? v : this.wrong('number')
  }
  index(below: number): number {
    const v = this.number()
    return Number.isInteger(v) && v >= 0 && v < below ? v : this.wrong('index')
  }
  numberOrNull(): number | null {
    if (this.values[this.at] === null) {
      this.at++
      return null
    }
    return this.number()
  }
  flag(): boolean {
    const v = this.values[this.at++]
    return typeof v === 'boolean' ? v : this.wrong('flag')
  }
  rows(): readonly unknown[] {
    const v = this.values[this.at++]
    return Array.isArray(v) ? v : this.wrong('list')
  }
  private wrong(kind: string): never {
    return fail(`${this.what}: value ${this.at - 1} is no ${kind}`)
  }
}

function listOf<T>(value: unknown, what: string, one: (row: Row) => T): T[] {
  if (!Array.isArray(value)) {
    fail(`${what} is no list`)
  }
  return (value as readonly unknown[]).map((v) => {
    if (!Array.isArray(v)) {
      fail(`${what}: a row is no list`)
    }
    return one(new Row(v, what))
  })
}

function tailOf(bytes: Uint8Array): Tail {
  const bag = unpack(bytes)
  const skipped = bag.x ?? 0
  if (typeof skipped !== 'number') {
    fail('x is no number')
  }
  return {
    regions: bag.r === undefined ? null : listOf(bag.r, 'r', regionOfRow),
    changes: bag.e === undefined ? null : listOf(bag.e, 'e', changeOfRow),
    members: bag.m === undefined ? null : listOf(bag.m, 'm', memberOfRow),
    skipped,
  }
}

function regionOfRow(row: Row): Region {
  return {
    index: row.index(REGION_NONE),
    code: row.text(),
    city: row.text(),
    country: row.text(),
    status: row.text(),
    latitude: row.numberOrNull(),
    longitude: row.numberOrNull(),
    machines: row.number(),
    cordoned: row.number(),
    coresTotal: row.number(),
    coresFree: row.number(),
    memoryTotal: row.number(),
    memoryFree: row.number(),
    staleMs: row.number(),
  }
}

function changeOfRow(row: Row): Change {
  return {
    slice: row.text(),
    seq: row.number(),
    type: row.text(),
    timeMs: row.number(),
    vm: row.text(),
    name: row.text(),
    machine: row.text(),
    region: row.text(),
    cores: row.number(),
    memory: row.number(),
  }
}

function memberState(text: string): Member['state'] {
  if (text === 'alive' || text === 'suspect' || text === 'dead' || text === 'left') {
    return text
  }
  return fail(`a member that is "${text}"`)
}

function memberOfRow(row: Row): Member {
  return {
    name: row.text(),
    region: row.text(),
    roles: row.text(),
    state: memberState(row.text()),
    serving: row.flag(),
    self: row.flag(),
    address: row.text(),
    version: row.text(),
    note: row.text(),
    rttUs: row.number(),
    sinceMs: row.number(),
    generation: row.number(),
    slices: listOf(row.rows(), 'm slices', (s): MemberSlice => ({
      slice: s.text(),
      epoch: s.number(),
    })),
  }
}

function detailOfRow(row: Row): Detail {
  return {
    index: row.index(MACHINES_MAX),
    name: row.text(),
    slice: row.text(),
    region: row.index(REGION_NONE),
    cores: row.number(),
    coresFree: row.number(),
    memory: row.number(),
    memoryFree: row.number(),
    cordoned: row.flag(),
  }
}

function textOf(bag: Bag, key: string): string {
  const v = bag[key]
  return typeof v === 'string' ? v : fail(`hello: ${key} is no text`)
}
function numberOf(bag: Bag, key: string): number {
  const v = bag[key]
  return typeof v === 'number' && Number.isFinite(v) ? v : fail(`hello: ${key} is no number`)
}

function decodeText(bag: Bag): Message {
  switch (bag.t) {
    case 'hello': {
      const scopes: unknown = bag.scopes
      if (!Array.isArray(scopes) || !scopes.every((s) => typeof s === 'string')) {
        fail('hello: scopes is no list of texts')
      }
      return {
        kind: 'hello',
        boot: textOf(bag, 'boot'),
        seq: numberOf(bag, 'seq') >>> 0,
        node: textOf(bag, 'node'),
        region: textOf(bag, 'region'),
        cluster: textOf(bag, 'cluster'),
        version: textOf(bag, 'version'),
        subject: textOf(bag, 'subject'),
        scopes: scopes as string[],
        expiresMs: numberOf(bag, 'expires_ms'),
        paceMs: numberOf(bag, 'pace_ms'),
      }
    }
    case 'detail':
      return { kind: 'detail', rows: listOf(bag.rows, 'rows', detailOfRow) }
    case 'resync':
      return { kind: 'resync', why: typeof bag.why === 'string' ? bag.why : '' }
    default:
      return typeof bag.t === 'string' ? { kind: 'unknown' } : fail('a message without t')
  }
}
