/*
 * live - the core's picture as Svelte state. The core calls back as often as it likes; what views
 * show is copied at most once a frame, and only the parts that changed.
 */
import { createFleet } from '../core/fleet'
import {
  CELL_LEVEL,
  STALE_MS,
  type Change,
  type Fleet,
  type FleetPart,
  type LinkState,
  type Member,
  type Region,
  type Who,
} from '../core/types'

/** The page's one picture. */
export const fleet: Fleet = createFleet()

/** Words that change more often than this cannot be read. The first change after a pause shows at once;
 * cells and cards are not held back at all. */
const PACE_MS: Partial<Record<FleetPart, number>> = { regions: 100, changes: 250 }

const ALL: FleetPart[] = ['state', 'regions', 'members', 'changes', 'layout']

class Live {
  link = $state<LinkState>('connecting')
  who = $state.raw<Who | null>(null)
  node = $state.raw({ name: '', region: '', cluster: '', version: '' })
  regions = $state.raw<readonly Region[]>([])
  members = $state.raw<readonly Member[]>([])
  /** Newest first. */
  changes = $state.raw<readonly Change[]>([])
  machines = $state(0)
  /** Counts changes of which machines there are and of what region. */
  layout = $state(0)
  /** The wall clock, once a second: ages go by it. */
  now = $state(Date.now())
  /** How often the picture had to be fetched again. */
  resyncs = $state(0)

  #heard = new Map<Region, number>()
  #dirty = new Set<FleetPart>()
  #frame = 0
  #shown = new Map<FleetPart, number>()
  #timer = 0
  #lostAt = 0

  start(): void {
    for (const part of ALL) {
      fleet.subscribe([part], () => this.#mark(part))
    }
    window.setInterval(() => {
      if (!document.hidden) {
        this.now = Date.now()
      }
    }, 1000)
    fleet.start()
    this.#copy('state')
  }

  pause(): void {
    fleet.stop()
  }

  /** After signing in: with the new cookie. */
  restart(): void {
    fleet.stop()
    fleet.start()
    this.#copy('state')
  }

  #mark(part: FleetPart): void {
    this.#dirty.add(part)
    this.#want()
  }

  #want(): void {
    if (this.#frame === 0) {
      // a hidden page has no frames, and must not fall behind by thousands of changes either
      this.#frame = document.hidden
        ? window.setTimeout(() => this.#flush(), 250)
        : window.requestAnimationFrame(() => this.#flush())
    }
  }

  #flush(): void {
    this.#frame = 0
    const now = performance.now()
    let wait = Infinity
    for (const part of [...this.#dirty]) {
      const left = (this.#shown.get(part) ?? -Infinity) + (PACE_MS[part] ?? 0) - now
      if (left > 0) {
        wait = Math.min(wait, left)
        continue
      }
      this.#dirty.delete(part)
      this.#shown.set(part, now)
      this.#copy(part)
    }
    window.clearTimeout(this.#timer)
    if (wait !== Infinity) {
      this.#timer = window.setTimeout(() => this.#want(), wait)
    }
  }

  #copy(part: FleetPart): void {
    switch (part) {
      case 'state':
        if (fleet.state !== 'live' && this.link === 'live') {
          // it is called stale when it has been silent for so long already
          this.#lostAt = Date.now() - STALE_MS
        }
        this.link = fleet.state
        this.who = fleet.who
        this.node = { ...fleet.node }
        this.resyncs = fleet.resyncs
        break
      case 'regions': {
        const now = Date.now()
        const heard = new Map<Region, number>()
        for (const region of fleet.regions) {
          heard.set(region, this.#heard.get(region) ?? now - Math.min(region.staleMs, now))
        }
        this.#heard = heard
        this.regions = fleet.regions.slice()
        break
      }
      case 'members':
        this.members = fleet.members.slice()
        break
      case 'changes':
        this.changes = fleet.changes.slice()
        break
      case 'layout':
        this.machines = fleet.machines
        this.layout++
        break
    }
  }

  has(scope: string): boolean {
    return this.who?.scopes.includes(scope) ?? false
  }

  /** A region whose owner is silent, or any when the dash itself is. */
  stale(region: Region): boolean {
    return this.link === 'stale' || region.staleMs >= STALE_MS
  }

  /** "last heard 4 s ago" as milliseconds; of wall time, so it goes on counting between frames. */
  silentMs(region: Region): number {
    if (region.staleMs >= STALE_MS) {
      return Math.max(region.staleMs, this.now - (this.#heard.get(region) ?? this.now))
    }
    return this.link === 'stale' ? Math.max(0, this.now - this.#lostAt) : 0
  }

  /** Whether VMs run there. Cordoned machines count as not free, so then their cells are asked. */
  running(region: Region): boolean {
    if (region.coresFree >= region.coresTotal) {
      return false
    }
    if (region.cordoned === 0) {
      return true
    }
    const { cells, regionOf, count } = fleet
    for (let i = 0; i < count; i++) {
      if (regionOf[i] === region.index && ((cells[i] ?? 0) & CELL_LEVEL) !== 0) {
        return true
      }
    }
    return false
  }

  region(code: string): Region | undefined {
    return this.regions.find((one) => one.code === code)
  }
}

export const live = new Live()
