/*
 * pick - which machines the table shows, and in what order: a list of indices over the columns.
 *
 * Sorting is by counting (a level has 32 values, a region 255): O(machines), stable by index. Pure.
 */
import { CELL_CORDONED, CELL_LEVEL, CELL_MACHINE } from './types'

export type SortKey = 'index' | 'region' | 'level'
export interface Pick {
  /** null: all. */
  readonly region: number | null
  readonly cordoned: boolean
  readonly levelMin: number
  readonly levelMax: number
  readonly sort: SortKey
  readonly down: boolean
  /** Only these (what a search by name found); null: all. */
  readonly among: readonly number[] | null
}
export const EVERY: Pick = {
  region: null,
  cordoned: false,
  levelMin: 0,
  levelMax: CELL_LEVEL,
  sort: 'index',
  down: false,
  among: null,
}

export interface Columns {
  readonly cells: Uint8Array
  readonly regionOf: Uint8Array
  readonly count: number
}

function fits(columns: Columns, index: number, pick: Pick): boolean {
  const cell = columns.cells[index] as number
  const level = cell & CELL_LEVEL
  return (
    (cell & CELL_MACHINE) !== 0 &&
    (pick.region === null || columns.regionOf[index] === pick.region) &&
    (!pick.cordoned || (cell & CELL_CORDONED) !== 0) &&
    level >= pick.levelMin &&
    level <= pick.levelMax
  )
}

export function pickMachines(columns: Columns, pick: Pick): Uint32Array {
  const found = new Uint32Array(pick.among?.length ?? columns.count)
  let n = 0
  if (pick.among === null) {
    for (let i = 0; i < columns.count; i++) {
      if (fits(columns, i, pick)) {
        found[n++] = i
      }
    }
  } else {
    for (const i of pick.among) {
      if (i < columns.count && fits(columns, i, pick)) {
        found[n++] = i
      }
    }
  }
  const all = found.subarray(0, n)
  if (pick.sort === 'index') {
    return pick.down ? all.reverse() : all
  }
  const { cells, regionOf } = columns
  const keyOf =
    pick.sort === 'region'
      ? (i: number) => regionOf[i] as number
      : (i: number) => (cells[i] as number) & CELL_LEVEL
  return counted(all, keyOf, pick.down)
}

function counted(all: Uint32Array, keyOf: (i: number) => number, down: boolean): Uint32Array {
  const starts = new Uint32Array(257)
  const slotOf = (i: number): number => (down ? 255 - keyOf(i) : keyOf(i))
  for (const i of all) {
    const slot = slotOf(i) + 1
    starts[slot] = (starts[slot] as number) + 1
  }
  for (let slot = 1; slot < 257; slot++) {
    starts[slot] = (starts[slot] as number) + (starts[slot - 1] as number)
  }
  const sorted = new Uint32Array(all.length)
  for (const i of all) {
    const slot = slotOf(i)
    const at = starts[slot] as number
    sorted[at] = i
    starts[slot] = at + 1
  }
  return sorted
}

/** Rows of a window over many: as much as browsers can scroll, and which rows are at a position. */
export const SCROLL_MAX_PX = 8_000_000

export function scrollHeight(rows: number, rowPx: number): number {
  return Math.min(rows * rowPx, SCROLL_MAX_PX)
}

/** Pixels of all rows above the window's top when it is scrolled to `top`. */
export function offsetAt(top: number, rows: number, rowPx: number, windowPx: number): number {
  const full = rows * rowPx
  const height = scrollHeight(rows, rowPx)
  if (full === height || height <= windowPx) {
    return top
  }
  return (top / (height - windowPx)) * (full - windowPx)
}

/** The inverse of offsetAt. */
export function topFor(offset: number, rows: number, rowPx: number, windowPx: number): number {
  const full = rows * rowPx
  const height = scrollHeight(rows, rowPx)
  if (full === height || height <= windowPx) {
    return offset
  }
  return (offset / (full - windowPx)) * (height - windowPx)
}
