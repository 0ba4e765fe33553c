/*
 * palette - from the theme's colours to what a cell of the fleet looks like. Pure, but for paletteOf,
 * which reads the CSS custom properties of an element; it is called when the theme changes, not per
 * frame.
 */
import { CELL_CORDONED, CELL_LEVEL, CELL_MACHINE } from './types'

export type Rgb = readonly [number, number, number]

/** Shown levels: 0 nothing is taken, 31 nothing is left. */
export const LEVELS = CELL_LEVEL + 1

export interface Palette {
  /** By the cell's byte: a pixel of ImageData as u32 in this machine's order. 0: nothing there. A
   * cordoned machine's alpha is 254: that bit tells it from the others without its cell. */
  readonly pixels: Uint32Array
  /** CSS colours by level, for legends. */
  readonly levels: readonly string[]
  readonly cordoned: string
  readonly background: string
  readonly text: string
  readonly muted: string
  readonly accent: string
  readonly warn: string
}

// Where --level-1 … --level-4 stand; between them it is mixed. --level-0 is for nothing taken alone.
const STOPS = [1, 18, 26, 31] as const

/** #rgb, #rrggbb or rgb(r, g, b), as CSS says colours; null: none of these. */
export function parseColour(text: string): Rgb | null {
  const t = text.trim()
  const hex = /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.exec(t)?.[1]
  if (hex !== undefined) {
    const full = hex.length === 3 ? [...hex].map((c) => c + c).join('') : hex
    const n = parseInt(full, 16)
    return [n >> 16, (n >> 8) & 255, n & 255]
  }
  const parts = /^rgba?\(\s*(\d+)[\s,]+(\d+)[\s,]+(\d+)/.exec(t)
  return parts === null ? null : [Number(parts[1]), Number(parts[2]), Number(parts[3])]
}

export function mix(a: Rgb, b: Rgb, part: number): Rgb {
  const one = (i: 0 | 1 | 2) => Math.round(a[i] + (b[i] - a[i]) * part)
  return [one(0), one(1), one(2)]
}

export function cssOf([r, g, b]: Rgb): string {
  return `rgb(${r}, ${g}, ${b})`
}

/** `stops`: colours of --level-0 … --level-4. */
export function levelColours(stops: readonly Rgb[]): Rgb[] {
  const all: Rgb[] = [stops[0] as Rgb]
  for (let level = 1; level < LEVELS; level++) {
    let k = 0
    while (k < STOPS.length - 2 && level > (STOPS[k + 1] as number)) {
      k++
    }
    const from = STOPS[k] as number
    const to = STOPS[k + 1] as number
    all.push(mix(stops[k + 1] as Rgb, stops[k + 2] as Rgb, (level - from) / (to - from)))
  }
  return all
}

/** Pixels by the cell's byte. A cordoned machine keeps a little of its level. */
export function cellPixels(levels: readonly Rgb[], cordoned: Rgb): Uint32Array {
  const bytes = new Uint8ClampedArray(4 * 256)
  for (let level = 0; level < LEVELS; level++) {
    const colour = levels[level] as Rgb
    bytes.set([...colour, 255], 4 * (CELL_MACHINE | level))
    bytes.set([...mix(cordoned, colour, 0.2), 254], 4 * (CELL_MACHINE | CELL_CORDONED | level))
  }
  return new Uint32Array(bytes.buffer)
}

// In case a style sheet lacks one: lightness rises with what is taken, blue to yellow.
const FALLBACK: Readonly<Record<string, Rgb>> = {
  '--level-0': [52, 56, 74],
  '--level-1': [49, 104, 142],
  '--level-2': [53, 183, 121],
  '--level-3': [181, 222, 43],
  '--level-4': [253, 231, 37],
  '--cordoned': [140, 144, 165],
  '--bg': [10, 11, 16],
  '--text': [236, 237, 244],
  '--muted': [168, 172, 190],
  '--accent-text': [185, 161, 255],
  '--warn': [251, 191, 36],
}

export function paletteOf(element: Element): Palette {
  const style = getComputedStyle(element)
  const colour = (name: string): Rgb =>
    parseColour(style.getPropertyValue(name)) ?? (FALLBACK[name] as Rgb)
  const levels = levelColours([0, 1, 2, 3, 4].map((i) => colour(`--level-${i}`)))
  const cordoned = colour('--cordoned')
  return {
    pixels: cellPixels(levels, cordoned),
    levels: levels.map(cssOf),
    cordoned: cssOf(cordoned),
    background: cssOf(colour('--bg')),
    text: cssOf(colour('--text')),
    muted: cssOf(colour('--muted')),
    accent: cssOf(colour('--accent-text')),
    warn: cssOf(colour('--warn')),
  }
}
