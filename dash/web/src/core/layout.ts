/*
 * layout - where every machine's cell stands: regions as blocks, blocks on shelves, everything in
 * units of cells.
 *
 * A region's machines fill its block row by row in the order of their indices, so what fails together
 * is seen together. The blocks of a shelf have one height, found so that they just fill the width (as
 * photographs are set in a gallery); labels and gaps are whole cells too, so that the fleet is one
 * picture with a texel a cell. The cell is as large as lets all of it be seen, at least 1 px. Pure.
 */
import { REGION_NONE } from './wire'

/** Sides of a cell that are tried, from the largest. */
const CELL_PX = [44, 38, 32, 28, 24, 21, 18, 16, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
export const LABEL_PX = 20
export const GAP_PX = 10
const BLOCK_MIN_PX = 72 // a label is read there
const SHELF_TRIES = 16

/** One region's rectangle, in cells. */
export interface Block {
  readonly region: number
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
  /** Its machines are order[start] … order[start + count - 1]. */
  readonly start: number
  readonly count: number
}
export interface Layout {
  /** Pixels (CSS) of a cell's side when it is not zoomed. */
  readonly cellPx: number
  readonly columns: number
  readonly rows: number
  /** Cells that stand above a block, for its label. */
  readonly labelRows: number
  readonly blocks: readonly Block[]
  /** Machine indices, block by block. */
  readonly order: Uint32Array
  /** By machine index: y * columns + x; NOWHERE: it is not shown. */
  readonly texelOf: Uint32Array
}
export const NOWHERE = 0xffffffff

interface Shelf {
  readonly first: number
  readonly end: number
  readonly height: number
}
interface Group {
  readonly region: number
  readonly start: number
  readonly count: number
}
interface Grid {
  readonly columns: number
  readonly gap: number
  readonly label: number
  readonly blockMin: number
}

function gridOf(cellPx: number, widthPx: number): Grid {
  const columns = Math.max(1, Math.floor(widthPx / cellPx))
  return {
    columns,
    gap: Math.ceil(GAP_PX / cellPx),
    label: Math.ceil(LABEL_PX / cellPx),
    blockMin: Math.min(columns, Math.ceil(BLOCK_MIN_PX / cellPx)),
  }
}

function widthOf(group: Group, height: number, grid: Grid): number {
  return Math.max(grid.blockMin, Math.ceil(group.count / height))
}

function shelfWidth(groups: readonly Group[], first: number, end: number, height: number, grid: Grid) {
  let width = (end - first - 1) * grid.gap
  for (let i = first; i < end; i++) {
    width += widthOf(groups[i] as Group, height, grid)
  }
  return width
}

/** The least height at which these blocks stand beside each other. */
function shelfHeight(groups: readonly Group[], first: number, end: number, grid: Grid): number {
  let low = 1
  let high = 1
  for (let i = first; i < end; i++) {
    high = Math.max(high, (groups[i] as Group).count)
  }
  while (low < high) {
    const middle = (low + high) >> 1
    if (shelfWidth(groups, first, end, middle, grid) <= grid.columns) {
      high = middle
    } else {
      low = middle + 1
    }
  }
  return low
}

/** Shelves of about `target` rows. */
function shelvesOf(groups: readonly Group[], target: number, grid: Grid): Shelf[] {
  const shelves: Shelf[] = []
  let first = 0
  while (first < groups.length) {
    let end = first + 1
    while (
      end < groups.length &&
      shelfWidth(groups, first, end + 1, target, grid) <= grid.columns
    ) {
      end++
    }
    let height = shelfHeight(groups, first, end, grid)
    if (end === groups.length) {
      // The last shelf need not reach the right edge: few machines are no long thin line.
      let most = 0
      for (let i = first; i < end; i++) {
        most = Math.max(most, (groups[i] as Group).count)
      }
      height = Math.max(height, Math.min(target, Math.ceil(Math.sqrt(most / 3))))
    }
    shelves.push({ first, end, height })
    first = end
  }
  return shelves
}

/** `many` shelves with about as many machines each, each filling the width; null: too many blocks. */
function evenShelves(groups: readonly Group[], many: number, grid: Grid): Shelf[] | null {
  const last = groups.at(-1) as Group
  const total = last.start + last.count
  const shelves: Shelf[] = []
  let first = 0
  for (let k = 1; k <= many && first < groups.length; k++) {
    const until = (total * k) / many
    let end = first + 1
    // A block goes where most of it would be.
    while (end < groups.length && middleOf(groups[end] as Group) <= until) {
      end++
    }
    end = k === many ? groups.length : end
    const height = shelfHeight(groups, first, end, grid)
    if (shelfWidth(groups, first, end, height, grid) > grid.columns) {
      return null
    }
    shelves.push({ first, end, height })
    first = end
  }
  return shelves
}

function middleOf(group: Group): number {
  return group.start + group.count / 2
}

function rowsOf(shelves: readonly Shelf[], grid: Grid): number {
  let rows = 0
  for (const shelf of shelves) {
    rows += grid.label + shelf.height + grid.gap
  }
  return Math.max(1, rows - grid.gap)
}

/** How far its blocks are from squares, and its last shelf from being full: 0 is best. */
function oddness(groups: readonly Group[], shelves: readonly Shelf[], grid: Grid): number {
  const last = shelves.at(-1) as Shelf
  const used = shelfWidth(groups, last.first, last.end, last.height, grid) / grid.columns
  let sum = groups.length * (1 - used)
  for (const shelf of shelves) {
    for (let i = shelf.first; i < shelf.end; i++) {
      sum += Math.abs(Math.log(widthOf(groups[i] as Group, shelf.height, grid) / shelf.height / 1.4))
    }
  }
  return sum
}

/** The best shelves at this size of a cell: squarest of those that fit, or the lowest. */
function bestShelves(groups: readonly Group[], grid: Grid, rowsMax: number) {
  let most = 1
  for (const group of groups) {
    most = Math.max(most, group.count)
  }
  let best: Shelf[] = []
  let bestRows = groups.length === 0 ? 1 : Infinity
  let bestOddness = Infinity
  const tall = Math.max(2, Math.min(most, rowsMax))
  for (let i = 0; i < 2 * SHELF_TRIES && groups.length > 0; i++) {
    const target = Math.max(1, Math.round(tall ** ((i + 1) / SHELF_TRIES)))
    const shelves =
      i < SHELF_TRIES
        ? shelvesOf(groups, target, grid)
        : evenShelves(groups, i - SHELF_TRIES + 1, grid)
    if (shelves === null) {
      continue
    }
    const rows = rowsOf(shelves, grid)
    const odd = oddness(groups, shelves, grid)
    const fits = rows <= rowsMax
    const better = bestRows <= rowsMax ? fits && odd < bestOddness : fits || rows < bestRows
    if (better) {
      best = shelves
      bestRows = rows
      bestOddness = odd
    }
  }
  return { shelves: best, rows: bestRows }
}

/**
 * `only`: of one region; null: of all. Of `count` machines with their regions; what has none
 * (REGION_NONE) is not shown. O(count).
 */
export function layoutFleet(
  regionOf: Uint8Array,
  count: number,
  widthPx: number,
  heightPx: number,
  only: number | null = null,
): Layout {
  const { groups, order } = grouped(regionOf, count, only)
  let cellPx = 1
  let grid = gridOf(cellPx, widthPx)
  let best = bestShelves(groups, grid, heightPx)
  for (const px of CELL_PX) {
    // Not even the machines alone would have room.
    if (order.length * px * px > widthPx * heightPx) {
      continue
    }
    cellPx = px
    grid = gridOf(px, widthPx)
    best = bestShelves(groups, grid, Math.floor(heightPx / px))
    if (best.rows * px <= heightPx) {
      break
    }
  }
  const blocks: Block[] = []
  let y = 0
  for (const shelf of best.shelves) {
    let x = 0
    y += grid.label
    for (let i = shelf.first; i < shelf.end; i++) {
      const group = groups[i] as Group
      const width = widthOf(group, shelf.height, grid)
      blocks.push({ ...group, x, y, width, height: Math.ceil(group.count / width) })
      x += width + grid.gap
    }
    y += shelf.height + grid.gap
  }
  const { columns, label: labelRows } = grid
  const texelOf = texels(blocks, order, columns, count)
  return { cellPx, columns, rows: best.rows, labelRows, blocks, order, texelOf }
}

/** Machines by region, each region's in the order of their indices. */
function grouped(regionOf: Uint8Array, count: number, only: number | null) {
  const starts = new Uint32Array(REGION_NONE + 1)
  for (let i = 0; i < count; i++) {
    const region = regionOf[i] as number
    starts[region] = (starts[region] as number) + 1
  }
  const groups: Group[] = []
  let total = 0
  for (let region = 0; region < REGION_NONE; region++) {
    const n = starts[region] as number
    if (n > 0 && (only === null || only === region)) {
      groups.push({ region, start: total, count: n })
      starts[region] = total
      total += n
    } else {
      starts[region] = NOWHERE
    }
  }
  starts[REGION_NONE] = NOWHERE
  const order = new Uint32Array(total)
  for (let i = 0; i < count; i++) {
    const region = regionOf[i] as number
    const at = starts[region] as number
    if (at !== NOWHERE) {
      order[at] = i
      starts[region] = at + 1
    }
  }
  return { groups, order }
}

function texels(blocks: readonly Block[], order: Uint32Array, columns: number, count: number) {
  const texelOf = new Uint32Array(count).fill(NOWHERE)
  for (const block of blocks) {
    let k = block.start
    const end = block.start + block.count
    for (let y = block.y; k < end; y++) {
      const rowEnd = Math.min(k + block.width, end)
      let texel = y * columns + block.x
      for (; k < rowEnd; k++) {
        texelOf[order[k] as number] = texel++
      }
    }
  }
  return texelOf
}

/** The block that has this cell, its last row in full; null: a gap or a label. */
export function blockAt(layout: Layout, x: number, y: number): Block | null {
  for (const block of layout.blocks) {
    if (x >= block.x && x < block.x + block.width && y >= block.y && y < block.y + block.height) {
      return block
    }
  }
  return null
}

/** The machine whose cell is at x, y (in cells; fractions are cut); null: none is there. */
export function machineAt(layout: Layout, x: number, y: number): number | null {
  const cx = Math.floor(x)
  const cy = Math.floor(y)
  const block = blockAt(layout, cx, cy)
  if (block === null) {
    return null
  }
  const k = (cy - block.y) * block.width + (cx - block.x)
  return k < block.count ? (layout.order[block.start + k] as number) : null
}

/** The inverse of machineAt: its cell's corner. */
export function cellOf(layout: Layout, index: number): { x: number; y: number } | null {
  const texel = layout.texelOf[index]
  if (texel === undefined || texel === NOWHERE) {
    return null
  }
  return { x: texel % layout.columns, y: Math.floor(texel / layout.columns) }
}

export type Step = 'left' | 'right' | 'up' | 'down' | 'first' | 'last' | 'next' | 'previous'

/**
 * Where a keyboard cursor at `index` goes: left and right along the order, up and down by rows and on
 * into the block above or below, first and last of the region, next and previous region.
 */
export function stepFrom(layout: Layout, index: number | null, step: Step): number | null {
  const at = index === null ? null : cellOf(layout, index)
  const block = at === null ? null : blockAt(layout, at.x, at.y)
  if (at === null || block === null) {
    return layout.order[0] ?? null
  }
  const k = (at.y - block.y) * block.width + (at.x - block.x)
  const of = (b: Block, i: number): number => layout.order[b.start + i] as number
  const place = layout.blocks.indexOf(block)
  switch (step) {
    case 'left':
      return layout.order[Math.max(0, block.start + k - 1)] as number
    case 'right':
      return layout.order[Math.min(layout.order.length - 1, block.start + k + 1)] as number
    case 'first':
      return of(block, 0)
    case 'last':
      return of(block, block.count - 1)
    case 'next': {
      const other = layout.blocks[Math.min(place + 1, layout.blocks.length - 1)] as Block
      return of(other, other === block ? block.count - 1 : 0)
    }
    case 'previous': {
      const other = layout.blocks[k === 0 ? Math.max(place - 1, 0) : place] as Block
      return of(other, 0)
    }
    case 'up':
      return k >= block.width ? of(block, k - block.width) : over(layout, block, at.x, -1, of(block, k))
    case 'down':
      return k + block.width < block.count
        ? of(block, k + block.width)
        : over(layout, block, at.x, 1, of(block, k))
  }
}

/** Into the nearest block above (-1) or below (1) at about column x; `stay` when there is none. */
function over(layout: Layout, from: Block, x: number, way: 1 | -1, stay: number): number {
  let best: Block | null = null
  let bestCost = Infinity
  for (const block of layout.blocks) {
    const rows = way === 1 ? block.y - (from.y + from.height) : from.y - (block.y + block.height)
    if (rows < 0 || block === from) {
      continue
    }
    const aside = Math.max(block.x - x, x - (block.x + block.width - 1), 0)
    const cost = rows * layout.columns + aside
    if (cost < bestCost) {
      best = block
      bestCost = cost
    }
  }
  if (best === null) {
    return stay
  }
  const column = Math.min(Math.max(x - best.x, 0), best.width - 1)
  const row = way === 1 ? 0 : best.height - 1
  return layout.order[best.start + Math.min(row * best.width + column, best.count - 1)] as number
}
