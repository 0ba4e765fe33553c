/*
 * near - which region is nearest to the visitor. Nobody is asked for a position: the browser's time
 * zone names a city, and a person may choose another region, which is kept in this browser.
 */
import type { Region } from '../core/types'
import { keep, kept } from './kept'
import { live } from './live.svelte'
import { ZONES } from './zones'

/** Great-circle distance in kilometres (haversine). */
export function distanceKm(latA: number, lonA: number, latB: number, lonB: number): number {
  const rad = Math.PI / 180
  const dLat = (latB - latA) * rad
  const dLon = (lonB - lonA) * rad
  const h =
    Math.sin(dLat / 2) ** 2 + Math.cos(latA * rad) * Math.cos(latB * rad) * Math.sin(dLon / 2) ** 2
  return 2 * 6371 * Math.asin(Math.min(1, Math.sqrt(h)))
}

/** Of the browser's zone; null: a zone that the table does not know, such as UTC. */
export function zonePosition(zone: string): readonly [number, number] | null {
  return ZONES[zone] ?? null
}

function browserZone(): string {
  try {
    return Intl.DateTimeFormat().resolvedOptions().timeZone
  } catch {
    return ''
  }
}

export interface Spot {
  readonly latitude: number
  readonly longitude: number
}

/** The nearest of `regions` to `from`; regions without a position come last. */
export function nearest(regions: readonly Region[], from: Spot | null): Region | undefined {
  let best: Region | undefined
  let bestKm = Infinity
  for (const region of regions) {
    const km =
      from !== null && region.latitude !== null && region.longitude !== null
        ? distanceKm(from.latitude, from.longitude, region.latitude, region.longitude)
        : 1e9
    if (best === undefined || km < bestKm) {
      best = region
      bestKm = km
    }
  }
  return best
}

class Near {
  /** The region's code that a person chose; "": none, the zone decides. */
  chosen = $state(kept('near') ?? '')
  readonly zone = browserZone()

  choose(code: string): void {
    this.chosen = code
    keep('near', code === '' ? null : code)
  }

  /** Where the visitor is thought to be: the chosen region, the zone's city, the dash's own region. */
  get spot(): Spot | null {
    const at = zonePosition(this.zone)
    const region = live.region(this.chosen) ?? (at === null ? live.region(live.node.region) : undefined)
    if (region !== undefined && region.latitude !== null && region.longitude !== null) {
      return { latitude: region.latitude, longitude: region.longitude }
    }
    return at === null ? null : { latitude: at[0], longitude: at[1] }
  }

  /** The nearest region at all: of those with machines, if any has some. */
  get region(): Region | undefined {
    const withMachines = live.regions.filter((region) => region.machines > 0)
    return (
      withMachines.find((region) => region.code === this.chosen) ??
      nearest(withMachines.length > 0 ? withMachines : live.regions, this.spot)
    )
  }

  /** Where a VM of this size would go: the nearest region that is not stale, not offline, and has room. */
  for(cores: number, memory: number): Region | undefined {
    const fit = live.regions.filter(
      (region) =>
        region.machines > region.cordoned &&
        region.coresFree >= cores &&
        region.memoryFree >= memory &&
        region.status !== 'offline' &&
        !live.stale(region),
    )
    return fit.find((region) => region.code === this.chosen) ?? nearest(fit, this.spot)
  }
}

export const near = new Near()
