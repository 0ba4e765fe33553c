/*
 * paint - the fleet on two canvases: `base` has one texel a machine and is enlarged by CSS
 * (pixelated), so a frame costs what changed and not what is seen; `over` lies on it at the screen's
 * own resolution with what changes rarely: names of regions, lines between cells, hatches where news
 * are late, marks of cordoned machines, the cursor.
 *
 * Only texels of changed cells are written, and only rows that have one are given to the canvas. A
 * change of which machines there are lays everything out anew, at most four times a second.
 */
import { blockAt, cellOf, layoutFleet, machineAt, NOWHERE } from './layout'
import type { Block, Layout } from './layout'
import type { Palette } from './palette'
import { CELL_CORDONED, STALE_MS } from './types'
import type { Fleet, Region } from './types'

const LINES_FROM_PX = 5 // a cell must be so large for lines between them
const MARKS_FROM_PX = 6
const SCALE_MAX_PX = 64
const RELAYOUT_MS = 250
const LABELS_MS = 250
const RUN_GAP_ROWS = 8 // rows that did not change between two that did: given to the canvas too

/** Runs of rows that changed, first and one past the last; small gaps are bridged. */
export function dirtyRuns(rows: Uint8Array, bridge: number): [number, number][] {
  const runs: [number, number][] = []
  let first = -1
  let last = -1
  for (let y = 0; y < rows.length; y++) {
    if (rows[y] === 0) {
      continue
    }
    if (first < 0) {
      first = y
    } else if (y - last > bridge + 1) {
      runs.push([first, last + 1])
      first = y
    }
    last = y
  }
  if (first >= 0) {
    runs.push([first, last + 1])
  }
  return runs
}

export interface PainterDeps {
  now(): number
  frame(run: () => void): void
  after(ms: number, run: () => void): () => void
  pixelRatio(): number
}

export class FleetPainter {
  layout: Layout
  /** Pixels a cell's side has now, zoom included. */
  scale = 1
  /** Where the fleet's corner stands on the stage, in pixels. */
  private x = 0
  private y = 0
  private width = 0
  private height = 0
  private only: number | null = null
  private selected: number | null = null
  private cursor: number | null = null
  private image: ImageData | null = null
  private pixels = new Uint32Array(0)
  private dirtyRows = new Uint8Array(0)
  private layoutDue = true
  private layoutMs = -Infinity
  private overDue = true
  private frameDue = false
  private labels = ''
  private labelsMs = -Infinity
  private stops: (() => void)[] = []
  private cancelRelayout: (() => void) | null = null
  private cancelLabels: (() => void) | null = null
  private readonly baseContext: CanvasRenderingContext2D
  private readonly overContext: CanvasRenderingContext2D
  /** Called after everything was laid out anew: what was hit before may be elsewhere. */
  laidOut: () => void = () => undefined

  constructor(
    private readonly fleet: Fleet,
    private readonly base: HTMLCanvasElement,
    private readonly over: HTMLCanvasElement,
    private palette: Palette,
    private readonly deps: PainterDeps,
  ) {
    const baseContext = base.getContext('2d')
    const overContext = over.getContext('2d')
    if (baseContext === null || overContext === null) {
      throw new Error('no canvas here')
    }
    this.baseContext = baseContext
    this.overContext = overContext
    this.layout = layoutFleet(new Uint8Array(0), 0, 1, 1)
  }

  start(): void {
    this.stops = [
      this.fleet.subscribe(['layout'], () => this.relayoutSoon()),
      this.fleet.subscribe(['cells'], () => this.cellsChanged()),
      this.fleet.subscribe(['regions', 'state'], () => this.labelsChanged()),
    ]
    this.wantFrame()
  }

  stop(): void {
    for (const stop of this.stops.splice(0)) {
      stop()
    }
    this.cancelRelayout?.()
    this.cancelRelayout = null
    this.cancelLabels?.()
    this.cancelLabels = null
  }

  /* --- what is to be seen --- */

  resize(width: number, height: number): void {
    if (width === this.width && height === this.height) {
      return
    }
    this.width = width
    this.height = height
    this.layoutDue = true
    this.layoutMs = -Infinity
    this.wantFrame()
  }

  setPalette(palette: Palette): void {
    this.palette = palette
    this.overDue = true
    this.paintAll()
    this.wantFrame()
  }

  /** The machines of one region; null: of all. */
  show(only: number | null): void {
    if (only !== this.only) {
      this.only = only
      this.layoutDue = true
      this.layoutMs = -Infinity
      this.scale = 0 // as large as fits
      this.wantFrame()
    }
  }

  mark(selected: number | null, cursor: number | null): void {
    if (selected !== this.selected || cursor !== this.cursor) {
      this.selected = selected
      this.cursor = cursor
      this.overDue = true
      this.wantFrame()
    }
  }

  zoomed(): boolean {
    return this.scale > this.layout.cellPx
  }

  /** `factor` times as large about a point of the stage, which stays where it is. */
  zoom(factor: number, x: number, y: number): void {
    const least = this.layout.cellPx
    const scale = Math.min(Math.max(this.scale * factor, least), Math.max(SCALE_MAX_PX, least))
    const worldX = (x - this.x) / this.scale
    const worldY = (y - this.y) / this.scale
    this.scale = scale
    this.x = x - worldX * scale
    this.y = y - worldY * scale
    this.place()
  }

  fit(): void {
    this.scale = this.layout.cellPx
    this.x = 0
    this.y = 0
    this.place()
  }

  pan(dx: number, dy: number): void {
    this.x += dx
    this.y += dy
    this.place()
  }

  /** Moves the picture, if need be, so that this machine is on the stage. */
  reveal(index: number): void {
    const cell = cellOf(this.layout, index)
    if (cell === null) {
      return
    }
    const margin = Math.min(2 * this.scale, this.width / 4, this.height / 4)
    const x = this.x + cell.x * this.scale
    const y = this.y + cell.y * this.scale
    const dx = Math.max(margin - x, 0) + Math.min(this.width - margin - this.scale - x, 0)
    const dy = Math.max(margin - y, 0) + Math.min(this.height - margin - this.scale - y, 0)
    if (dx !== 0 || dy !== 0) {
      this.pan(dx, dy)
    }
  }

  /** The machine at a point of the stage. */
  hit(x: number, y: number): number | null {
    return machineAt(this.layout, (x - this.x) / this.scale, (y - this.y) / this.scale)
  }

  /** The middle of its cell on the stage. */
  pointOf(index: number): { x: number; y: number } | null {
    const cell = cellOf(this.layout, index)
    return cell === null
      ? null
      : { x: this.x + (cell.x + 0.5) * this.scale, y: this.y + (cell.y + 0.5) * this.scale }
  }

  /** The region whose block or label is at a point of the stage. */
  regionAt(x: number, y: number): number | null {
    const cx = Math.floor((x - this.x) / this.scale)
    const cy = Math.floor((y - this.y) / this.scale)
    const { labelRows } = this.layout
    return (blockAt(this.layout, cx, cy) ?? blockAt(this.layout, cx, cy + labelRows))?.region ?? null
  }

  /* --- cells --- */

  private cellsChanged(): void {
    const { dirty, cells } = this.fleet
    if (this.layoutDue || this.image === null) {
      this.relayoutSoon()
    }
    if (dirty.all) {
      this.paintAll()
      this.draw()
      return
    }
    const { texelOf, columns } = this.layout
    const { pixels, dirtyRows } = this
    const colours = this.palette.pixels
    let marks = 0
    for (let i = 0; i < dirty.count; i++) {
      const index = dirty.indices[i] as number
      const texel = texelOf[index]
      if (texel === undefined || texel === NOWHERE) {
        continue
      }
      const colour = colours[cells[index] as number] as number
      const before = pixels[texel] as number
      if (colour !== before) {
        marks |= (colour ^ before) & ALPHA
        pixels[texel] = colour
        dirtyRows[(texel / columns) | 0] = 1
      }
    }
    if (marks !== 0 && this.scale >= MARKS_FROM_PX) {
      this.overDue = true
    }
    this.draw()
  }

  private paintAll(): void {
    const { order, texelOf } = this.layout
    const { pixels } = this
    const { cells } = this.fleet
    const colours = this.palette.pixels
    for (let k = 0; k < order.length; k++) {
      const index = order[k] as number
      pixels[texelOf[index] as number] = colours[cells[index] as number] as number
    }
    this.dirtyRows.fill(1)
    this.overDue = true
  }

  private relayoutSoon(): void {
    this.layoutDue = true
    const wait = this.layoutMs + RELAYOUT_MS - this.deps.now()
    if (wait <= 0) {
      this.wantFrame()
    } else if (this.cancelRelayout === null) {
      this.cancelRelayout = this.deps.after(wait, () => {
        this.cancelRelayout = null
        this.wantFrame()
      })
    }
  }

  private relayout(): void {
    const { fleet } = this
    if (this.width === 0 || this.height === 0) {
      return
    }
    this.layoutDue = false
    this.layoutMs = this.deps.now()
    const before = this.layout
    const fitted = this.scale <= before.cellPx
    this.layout = layoutFleet(fleet.regionOf, fleet.count, this.width, this.height, this.only)
    const { columns, rows, cellPx } = this.layout
    if (this.image === null || this.image.width !== columns || this.image.height !== rows) {
      this.image = new ImageData(columns, rows)
      this.pixels = new Uint32Array(this.image.data.buffer)
      this.dirtyRows = new Uint8Array(rows)
      this.base.width = columns
      this.base.height = rows
    } else {
      this.pixels.fill(0)
    }
    if (fitted || this.scale < cellPx) {
      this.scale = cellPx
    }
    this.paintAll()
    this.place()
    this.laidOut()
  }

  /* --- drawing --- */

  private wantFrame(): void {
    if (!this.frameDue) {
      this.frameDue = true
      this.deps.frame(() => {
        this.frameDue = false
        this.draw()
      })
    }
  }

  private draw(): void {
    if (this.layoutDue && this.layoutMs + RELAYOUT_MS <= this.deps.now()) {
      this.relayout()
    }
    if (this.image !== null) {
      const { columns } = this.layout
      for (const [first, end] of dirtyRuns(this.dirtyRows, RUN_GAP_ROWS)) {
        this.baseContext.putImageData(this.image, 0, 0, 0, first, columns, end - first)
      }
      this.dirtyRows.fill(0)
    }
    if (this.overDue) {
      this.overDue = false
      this.drawOver()
    }
  }

  /** Keeps the picture on the stage and puts both canvases where it is. */
  private place(): void {
    const width = this.layout.columns * this.scale
    const height = this.layout.rows * this.scale
    this.x = Math.round(Math.min(0, Math.max(this.x, this.width - width)))
    this.y = Math.round(Math.min(0, Math.max(this.y, this.height - height)))
    const { style } = this.base
    style.width = `${width}px`
    style.height = `${height}px`
    style.transform = `translate(${this.x}px, ${this.y}px)`
    this.overDue = true
    this.wantFrame()
  }

  private labelsChanged(): void {
    // Sums of regions change with every frame; words are looked at a few times a second.
    const wait = this.labelsMs + LABELS_MS - this.deps.now()
    if (wait > 0) {
      this.cancelLabels ??= this.deps.after(wait, () => {
        this.cancelLabels = null
        this.labelsChanged()
      })
      return
    }
    if (this.labelKey() === this.labels) {
      this.labelsMs = this.deps.now()
      return
    }
    this.overDue = true
    this.draw()
  }

  private labelKey(): string {
    let key = this.fleet.state === 'live' ? '' : 'all '
    for (const block of this.layout.blocks) {
      key += `${this.labelOf(block)}${this.isStale(block.region) ? '!' : ''} `
    }
    return key
  }

  private labelOf(block: Block): string {
    const region = this.fleet.regions[block.region]
    return `${region?.code ?? '?'} ${block.count.toLocaleString('en')}${takenOf(region)}`
  }

  private isStale(region: number): boolean {
    return this.fleet.state !== 'live' || (this.fleet.regions[region]?.staleMs ?? 0) > STALE_MS
  }

  private drawOver(): void {
    this.labels = this.labelKey()
    this.labelsMs = this.deps.now()
    const ratio = this.deps.pixelRatio()
    const { over, overContext: ctx, width, height } = this
    if (over.width !== Math.round(width * ratio) || over.height !== Math.round(height * ratio)) {
      over.width = Math.round(width * ratio)
      over.height = Math.round(height * ratio)
      over.style.width = `${width}px`
      over.style.height = `${height}px`
    }
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0)
    ctx.clearRect(0, 0, width, height)
    for (const block of this.layout.blocks) {
      const box = this.boxOf(block)
      const label = this.layout.labelRows * this.scale
      if (box.x > width || box.y > height || box.x + box.w < 0 || box.y + box.h + label < 0) {
        continue
      }
      if (this.scale >= LINES_FROM_PX) {
        this.drawLines(block)
      }
      if (this.scale >= MARKS_FROM_PX) {
        this.drawMarks(block)
      }
      const stale = this.isStale(block.region)
      if (stale) {
        this.drawHatch(box)
      }
      this.drawLabel(block, box, stale)
    }
    this.drawRing(this.selected, this.palette.accent, 3)
    this.drawRing(this.cursor, this.palette.text, 1.5)
  }

  private boxOf(block: Block) {
    return {
      x: this.x + block.x * this.scale,
      y: this.y + block.y * this.scale,
      w: block.width * this.scale,
      h: block.height * this.scale,
    }
  }

  /** Rows and columns of a block that are on the stage. */
  private seenOf(block: Block) {
    const left = -this.x / this.scale - block.x
    const top = -this.y / this.scale - block.y
    return {
      left: Math.max(0, Math.floor(left)),
      right: Math.min(block.width, Math.ceil(left + this.width / this.scale)),
      top: Math.max(0, Math.floor(top)),
      bottom: Math.min(block.height, Math.ceil(top + this.height / this.scale)),
    }
  }

  private drawLines(block: Block): void {
    const { overContext: ctx, scale } = this
    const box = this.boxOf(block)
    const seen = this.seenOf(block)
    ctx.beginPath()
    for (let column = seen.left; column <= seen.right; column++) {
      const x = box.x + column * scale
      ctx.moveTo(x, box.y + seen.top * scale)
      ctx.lineTo(x, box.y + seen.bottom * scale)
    }
    for (let row = seen.top; row <= seen.bottom; row++) {
      const y = box.y + row * scale
      ctx.moveTo(box.x + seen.left * scale, y)
      ctx.lineTo(box.x + seen.right * scale, y)
    }
    ctx.strokeStyle = this.palette.background
    ctx.lineWidth = scale >= 20 ? 3 : scale >= 10 ? 2 : 1
    ctx.stroke()
  }

  /** A stroke through the cells of cordoned machines: not by colour alone. */
  private drawMarks(block: Block): void {
    const { overContext: ctx, scale, fleet } = this
    const box = this.boxOf(block)
    const seen = this.seenOf(block)
    const inset = Math.max(1.5, scale / 5)
    ctx.beginPath()
    for (let row = seen.top; row < seen.bottom; row++) {
      for (let column = seen.left; column < seen.right; column++) {
        const k = row * block.width + column
        const index = k < block.count ? this.layout.order[block.start + k] : undefined
        if (index === undefined || ((fleet.cells[index] as number) & CELL_CORDONED) === 0) {
          continue
        }
        const x = box.x + column * scale
        const y = box.y + row * scale
        ctx.moveTo(x + inset, y + scale - inset)
        ctx.lineTo(x + scale - inset, y + inset)
      }
    }
    ctx.strokeStyle = this.palette.background
    ctx.lineWidth = Math.min(Math.max(1.5, scale / 7), 4)
    ctx.stroke()
  }

  private drawHatch(box: { x: number; y: number; w: number; h: number }): void {
    const { overContext: ctx } = this
    ctx.save()
    ctx.beginPath()
    ctx.rect(box.x, box.y, box.w, box.h)
    ctx.clip()
    ctx.globalAlpha = 0.72
    ctx.fillStyle = this.palette.background
    ctx.fillRect(box.x, box.y, box.w, box.h)
    ctx.globalAlpha = 0.8
    ctx.beginPath()
    const left = Math.max(box.x, 0)
    const right = Math.min(box.x + box.w, this.width)
    const top = Math.max(box.y, 0)
    const bottom = Math.min(box.y + box.h, this.height)
    const first = Math.ceil((left - bottom) / 9) * 9
    for (let d = first; d < right - top; d += 9) {
      ctx.moveTo(d + top, top)
      ctx.lineTo(d + bottom, bottom)
    }
    ctx.strokeStyle = this.palette.muted
    ctx.lineWidth = 1.5
    ctx.stroke()
    ctx.restore()
  }

  private drawLabel(block: Block, box: { x: number; y: number; w: number }, stale: boolean): void {
    const { overContext: ctx } = this
    const region = this.fleet.regions[block.region]
    const code = region?.code ?? '?'
    const y = box.y - 6
    // A label stays readable on the stage while its block is wider than that.
    const x = Math.max(box.x, Math.min(4, box.x + box.w - 60))
    const room = box.x + box.w - x
    ctx.font = '600 12px system-ui, sans-serif'
    ctx.textBaseline = 'alphabetic'
    ctx.fillStyle = stale ? this.palette.warn : this.palette.text
    ctx.fillText(code, x, y)
    const used = ctx.measureText(code).width + 7
    ctx.font = '12px system-ui, sans-serif'
    ctx.fillStyle = stale ? this.palette.warn : this.palette.muted
    for (const rest of this.restsOf(block, region, stale)) {
      if (used + ctx.measureText(rest).width <= room) {
        ctx.fillText(rest, x + used, y)
        break
      }
    }
  }

  /** What a label says after the code, from the longest to the shortest. */
  private restsOf(block: Block, region: Region | undefined, stale: boolean): string[] {
    const count = block.count.toLocaleString('en')
    const taken = takenOf(region)
    const city = region?.city ?? ''
    if (stale) {
      return [`${city} ${count} · stale`, `${count} · stale`, 'stale']
    }
    return [`${city} ${count}${taken}`, `${count}${taken}`, count]
  }

  private drawRing(index: number | null, colour: string, width: number): void {
    const cell = index === null ? null : cellOf(this.layout, index)
    if (cell === null) {
      return
    }
    const { overContext: ctx, scale } = this
    const side = Math.max(scale, 9)
    const x = this.x + (cell.x + 0.5) * scale - side / 2
    const y = this.y + (cell.y + 0.5) * scale - side / 2
    // Two rings, so that it is seen on cells of any colour.
    ctx.strokeStyle = this.palette.background
    ctx.lineWidth = width + 2.5
    ctx.strokeRect(x - 1, y - 1, side + 2, side + 2)
    ctx.strokeStyle = colour
    ctx.lineWidth = width
    ctx.strokeRect(x - 1, y - 1, side + 2, side + 2)
  }
}

// The alpha byte of a pixel, in this machine's order.
const ALPHA = new Uint32Array(new Uint8Array([0, 0, 0, 255]).buffer)[0] as number

/** " · 43 %" of its cores are taken; "": it has none. */
function takenOf(region: Region | undefined): string {
  if (region === undefined || region.coresTotal === 0) {
    return ''
  }
  return ` · ${Math.round((100 * (region.coresTotal - region.coresFree)) / region.coresTotal)} %`
}
