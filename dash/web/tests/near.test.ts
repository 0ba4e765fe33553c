import { describe, expect, it, vi } from 'vitest'
import type { Region } from '../src/core/types'

// near reads what the page shows; here only its arithmetic is asked
vi.mock('../src/lib/live.svelte', () => ({ live: { regions: [], region: () => undefined, node: { region: '' }, stale: () => false } }))
vi.mock('../src/lib/kept', () => ({ keep: () => undefined, kept: () => null }))
const { distanceKm, nearest, zonePosition } = await import('../src/lib/near.svelte')

function region(code: string, latitude: number | null, longitude: number | null): Region {
  return {
    index: 0,
    code,
    city: '',
    country: '',
    status: 'operational',
    latitude,
    longitude,
    machines: 1,
    cordoned: 0,
    coresTotal: 1,
    coresFree: 1,
    memoryTotal: 1,
    memoryFree: 1,
    staleMs: 0,
  }
}
const all = [region('SIN', 1.3, 103.8), region('FRA', 50.1, 8.7), region('SYD', -33.9, 151.2), region('SEA', 47.6, -122.3), region('GRU', -23.5, -46.7), region('XXX', null, null)]

describe('near', () => {
  it('measures great circles', () => {
    expect(distanceKm(52.37, 4.9, 51.52, -0.13)).toBeCloseTo(358, -1)
    expect(distanceKm(0, 179, 0, -179)).toBeCloseTo(222.4, 0)
    expect(distanceKm(10, 10, 10, 10)).toBe(0)
  })
  for (const [zone, code] of [
    ['Europe/Berlin', 'FRA'],
    ['Asia/Jakarta', 'SIN'],
    ['Pacific/Auckland', 'SYD'],
    ['America/Vancouver', 'SEA'],
    ['America/Argentina/Buenos_Aires', 'GRU'],
    // over the date line, not around the world
    ['Pacific/Honolulu', 'SEA'],
  ] as const) {
    it(`${zone}: ${code}`, () => {
      const at = zonePosition(zone)
      expect(at).not.toBeNull()
      expect(nearest(all, { latitude: at?.[0] ?? 0, longitude: at?.[1] ?? 0 })?.code).toBe(code)
    })
  }
  it('knows no place for UTC, and then takes the first', () => {
    expect(zonePosition('UTC')).toBeNull()
    expect(nearest(all, null)?.code).toBe('SIN')
    expect(nearest([], null)).toBeUndefined()
  })
})
