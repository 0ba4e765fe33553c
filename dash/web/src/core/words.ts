/*
 * words - a machine's cell and numbers in words, for tooltips, tables and screen readers. Pure.
 */
import { CELL_CORDONED, CELL_LEVEL } from './types'
import type { Detail } from './types'

/** A cell's level as text: it is a step of about 3 %, exact only at both ends. */
export function takenText(cell: number): string {
  const level = cell & CELL_LEVEL
  if (level === 0) {
    return 'nothing taken'
  }
  return level === CELL_LEVEL ? 'full' : `about ${takenPercent(cell)} % taken`
}

/** 0 and 100 at the ends; else the middle of the level's step: level = 1 + floor(29 × part). */
export function takenPercent(cell: number): number {
  const level = cell & CELL_LEVEL
  return level === 0 ? 0 : level === CELL_LEVEL ? 100 : Math.min(99, Math.round(((level - 0.5) / 29) * 100))
}

export function isCordoned(cell: number): boolean {
  return (cell & CELL_CORDONED) !== 0
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'] as const

/** Decimal units, three digits at most: 6 GB, 1.5 TB. */
export function bytesText(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000
    unit++
  }
  // Cut, not rounded: what is free is never said to be more than it is.
  const digits = value < 10 ? 2 : value < 100 ? 1 : 0
  const scale = 10 ** digits
  return `${Math.floor(value * scale + 1e-6) / scale} ${UNITS[unit]}`
}

export function detailText(detail: Detail): string {
  const cordoned = detail.cordoned ? ', cordoned' : ''
  return (
    `${detail.coresFree} of ${detail.cores} cores free, ` +
    `${bytesText(detail.memoryFree)} of ${bytesText(detail.memory)} memory free${cordoned}`
  )
}
