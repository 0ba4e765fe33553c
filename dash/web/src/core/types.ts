/*
 * types - the seam between the core (plain TypeScript: bytes, columns, canvas; no framework) and the
 * views (Svelte). The wire's layout is docs/DASH.md; the names there are the names here.
 */

/** A machine's cell: one byte. 0: no such machine. Values of dash/core/picture.h. */
export const CELL_LEVEL = 0x1f
export const CELL_CORDONED = 0x20
export const CELL_MACHINE = 0x80
/** A slice whose owner was not heard for so long is stale, and so is everything when the dash is. */
export const STALE_MS = 3000

export interface Region {
  readonly index: number
  readonly code: string
  readonly city: string
  readonly country: string
  /** "operational" | "degraded" | "maintenance" | "offline", by the regions file. */
  readonly status: string
  readonly latitude: number | null
  readonly longitude: number | null
  readonly machines: number
  readonly cordoned: number
  readonly coresTotal: number
  readonly coresFree: number
  readonly memoryTotal: number
  readonly memoryFree: number
  readonly staleMs: number
}

/** Exact numbers of one machine: told of those that somebody looks at (Fleet.look). */
export interface Detail {
  readonly index: number
  readonly name: string
  readonly slice: string
  readonly region: number
  readonly cores: number
  readonly coresFree: number
  readonly memory: number
  readonly memoryFree: number
  readonly cordoned: boolean
}

export interface Change {
  readonly slice: string
  readonly seq: number
  /** "machine_added", "machine_resized", "machine_removed", "vm_started", "vm_destroyed", ... */
  readonly type: string
  readonly timeMs: number
  readonly vm: string
  readonly name: string
  readonly machine: string
  readonly region: string
  readonly cores: number
  readonly memory: number
}

export interface MemberSlice {
  readonly slice: string
  readonly epoch: number
}
export interface Member {
  readonly name: string
  readonly region: string
  readonly roles: string
  readonly state: 'alive' | 'suspect' | 'dead' | 'left'
  readonly serving: boolean
  readonly self: boolean
  readonly address: string
  readonly version: string
  readonly note: string
  readonly rttUs: number
  readonly sinceMs: number
  readonly generation: number
  readonly slices: readonly MemberSlice[]
}

export interface Who {
  readonly subject: string
  /** "regions" | "launch" | "read" | "destroy" | "watch" | "admin" */
  readonly scopes: readonly string[]
  readonly expiresMs: number
}

export interface Vm {
  readonly id: string
  readonly name: string
  readonly region: string
  readonly machine: string
  readonly cores: number
  readonly memory: number
  readonly state: string
  readonly slice: string
  readonly createdMs: number
  readonly destroyedMs: number
  readonly subject: string
}

/** connecting: never had a picture. live. stale: the dash is silent for STALE_MS or the socket is gone:
 * everything is shown hatched. signedout: 401. */
export type LinkState = 'connecting' | 'live' | 'stale' | 'signedout'

/** Cells that changed; may name one twice. */
export interface Dirty {
  readonly all: boolean
  readonly count: number
  readonly indices: Uint32Array
}

/**
 * Everything live, as columns; one per page (src/core/fleet.ts: `createFleet()`). Plain callbacks,
 * no framework: a view subscribes and copies what it shows into its own state, at most once a frame.
 */
export interface Fleet {
  /** Columns by machine index; `count` of them are in use. Replaced when they grow. */
  readonly cells: Uint8Array
  readonly regionOf: Uint8Array
  readonly count: number
  readonly machines: number
  /** What changed since 'cells' subscribers were called before: right only while one is called. */
  readonly dirty: Dirty
  readonly regions: readonly Region[]
  readonly members: readonly Member[]
  /** The latest changes, newest first, at most 200. */
  readonly changes: readonly Change[]
  readonly details: ReadonlyMap<number, Detail>
  readonly state: LinkState
  readonly who: Who | null
  /** Of the dash: its node's name, its own region, cluster, version. */
  readonly node: { name: string; region: string; cluster: string; version: string }
  /** How long ago (ms) the oldest change of the frame painted last had happened when the next animation
   * frame began; for benches. */
  readonly latencyMs: number
  /** The same, when the views had just drawn it: without the frame that brings it to the screen. */
  readonly drawnMs: number
  readonly frames: number
  /** Cells that frames changed, ever. */
  readonly words: number
  readonly gaps: number
  readonly resyncs: number
  /** Messages of the dash that could not be read, or did not fit the picture. */
  readonly unreadable: number
  /** What may have changed since a subscriber was called last. */
  subscribe(what: readonly FleetPart[], changed: () => void): () => void
  /** Machines (at most 512) whose exact numbers are wanted by `viewer`, in place of its last ones. */
  look(viewer: string, indices: readonly number[]): void
  /** FNV-1a 32 over the cells of all machines by index; for tests. */
  hash(): number
  /** How to sign in anew when a dash that began a new life knows no session: true when it took it, false
   * when it refused, rejects when it did not answer. Null: nobody can without a person. */
  renewBy(renew: (() => Promise<boolean>) | null): void
  start(): void
  stop(): void
}
export type FleetPart =
  | 'cells'
  | 'regions'
  | 'members'
  | 'changes'
  | 'details'
  | 'state'
  | 'layout'
