/*
 * history - free cores over the time the page is open: one sample a second of every region and of
 * the machines a view asked for. Ten minutes of each; nothing is asked of the server.
 */
import { fleet, live } from './live.svelte'

const SAMPLES_MAX = 600

export interface Series {
  /** Wall time in seconds, as uPlot takes it. */
  readonly at: number[]
  readonly free: number[]
}

const regions = new Map<string, Series>()
const machines = new Map<number, Series>()
let timer = 0

function push(series: Series, at: number, free: number): void {
  series.at.push(at)
  series.free.push(free)
  if (series.at.length > SAMPLES_MAX) {
    series.at.shift()
    series.free.shift()
  }
}

function sample(): void {
  // a picture that is stale says nothing of now: a gap in the line tells more than a flat one
  if (live.link !== 'live') {
    return
  }
  const at = Date.now() / 1000
  for (const region of fleet.regions) {
    let series = regions.get(region.code)
    if (series === undefined) {
      series = { at: [], free: [] }
      regions.set(region.code, series)
    }
    push(series, at, region.coresFree)
  }
  for (const [index, series] of machines) {
    const detail = fleet.details.get(index)
    if (detail !== undefined) {
      push(series, at, detail.coresFree)
    }
  }
}

export function begin(): void {
  if (timer === 0) {
    timer = window.setInterval(sample, 1000)
  }
}

export function ofRegion(code: string): Series {
  return regions.get(code) ?? { at: [], free: [] }
}

/** Samples are taken from now on, until `forget`. */
export function ofMachine(index: number): Series {
  let series = machines.get(index)
  if (series === undefined) {
    series = { at: [], free: [] }
    machines.set(index, series)
  }
  return series
}

export function forget(index: number): void {
  machines.delete(index)
}
