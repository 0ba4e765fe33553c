/*
 * fleet - the page's store: the whole cluster in columns, kept by the link, read by the views.
 *
 * Subscribers are called at most once an animation frame, however many frames came meanwhile; what
 * changed is folded into the columns as it comes, in O(changes). While the tab is hidden no
 * animation frame runs, and nobody is called. Everything from outside the page comes in through
 * `deps`; `browserDeps` are the real ones.
 */
import { Link } from './link'
import type { LinkDeps, LinkSink } from './link'
import type { Change, Detail, Dirty, Fleet, FleetPart, LinkState, Member, Region, Who } from './types'
import { MACHINES_MAX, REGION_NONE } from './wire'
import type { DetailMessage, Frame, Hello, Snapshot, Tail } from './wire'

export const LOOK_MAX = 512
export const CHANGES_MAX = 200
/** More changed cells than this in one animation frame are "all". */
export const DIRTY_MAX = 1 << 17

export interface FleetDeps extends LinkDeps {
  /** requestAnimationFrame. */
  frame(run: () => void): void
  /** Wall clock, with fractions of a millisecond. */
  wallMs(): number
}

interface Subscriber {
  readonly parts: number
  readonly changed: () => void
}

const BIT: Readonly<Record<FleetPart, number>> = {
  cells: 1,
  regions: 2,
  members: 4,
  changes: 8,
  details: 16,
  state: 32,
  layout: 64,
}

class DirtyList implements Dirty {
  all = true
  count = 0
  indices = new Uint32Array(1024)

  add(index: number): void {
    if (this.all) {
      return
    }
    if (this.count === this.indices.length) {
      if (this.count === DIRTY_MAX) {
        this.all = true
        return
      }
      const more = new Uint32Array(2 * this.count)
      more.set(this.indices)
      this.indices = more
    }
    this.indices[this.count++] = index
  }

  clear(): void {
    this.all = false
    this.count = 0
  }
}

class Store implements Fleet, LinkSink {
  cells: Uint8Array = new Uint8Array(0)
  regionOf: Uint8Array = new Uint8Array(0)
  count = 0
  machines = 0
  regions: readonly Region[] = []
  members: readonly Member[] = []
  changes: readonly Change[] = []
  readonly details = new Map<number, Detail>()
  state: LinkState = 'connecting'
  who: Who | null = null
  node = { name: '', region: '', cluster: '', version: '' }
  latencyMs = 0
  drawnMs = 0
  frames = 0
  words = 0
  readonly dirty = new DirtyList()

  private readonly link: Link
  private readonly subscribers = new Set<Subscriber>()
  private readonly looks = new Map<string, readonly number[]>()
  private looked = ''
  private lookDue = false
  private changed = 0
  private frameDue = false
  /** Of the frames applied since the last paint; 0: none has a time. */
  private oldestMs = 0
  private paintedOldestMs = 0

  private renewal: (() => Promise<boolean>) | null = null

  constructor(private readonly deps: FleetDeps) {
    this.link = new Link({ ...deps, renew: () => this.renewal?.() ?? null }, this)
  }

  renewBy(renew: (() => Promise<boolean>) | null): void {
    this.renewal = renew
  }

  get gaps(): number {
    return this.link.gaps
  }
  get resyncs(): number {
    return this.link.resyncs
  }
  get unreadable(): number {
    return this.link.unreadable
  }

  start(): void {
    this.link.start()
  }
  stop(): void {
    this.link.stop()
  }

  subscribe(what: readonly FleetPart[], changed: () => void): () => void {
    const subscriber = { parts: what.reduce((bits, part) => bits | BIT[part], 0), changed }
    this.subscribers.add(subscriber)
    return () => void this.subscribers.delete(subscriber)
  }

  look(viewer: string, indices: readonly number[]): void {
    if (indices.length === 0) {
      this.looks.delete(viewer)
    } else {
      this.looks.set(viewer, indices.slice(0, LOOK_MAX))
    }
    this.lookDue = true
    this.wantFrame()
  }

  hash(): number {
    let hash = 0x811c9dc5
    const { cells, count } = this
    for (let i = 0; i < count; i++) {
      hash = Math.imul(hash ^ (cells[i] as number), 0x01000193)
    }
    return hash >>> 0
  }

  /* --- from the link --- */

  hello(hello: Hello): void {
    this.who = { subject: hello.subject, scopes: hello.scopes, expiresMs: hello.expiresMs }
    const { node: name, region, cluster, version } = hello
    this.node = { name, region, cluster, version }
    // A new socket knows nothing of what this page looks at.
    this.looked = ''
    this.lookDue = true
    this.touch(BIT.state)
  }

  detail(detail: DetailMessage): void {
    for (const row of detail.rows) {
      this.details.set(row.index, row)
    }
    this.touch(BIT.details)
  }

  setState(state: LinkState): void {
    this.state = state
    if (state === 'signedout') {
      this.who = null
    }
    this.touch(BIT.state)
  }

  snapshot(snapshot: Snapshot): void {
    const { count } = snapshot
    const same =
      count === this.count && snapshot.regionOf.every((region, i) => region === this.regionOf[i])
    this.reserve(count)
    this.cells.set(snapshot.cells)
    this.regionOf.set(snapshot.regionOf)
    this.cells.fill(0, count)
    this.regionOf.fill(REGION_NONE, count)
    this.count = count
    this.machines = 0
    for (let i = 0; i < count; i++) {
      this.machines += (this.cells[i] as number) >>> 7
    }
    for (const index of this.details.keys()) {
      if (this.regionOf[index] === REGION_NONE) {
        this.details.delete(index)
      }
    }
    this.dirty.all = true
    // What it looks at may be other machines now, after another life of the dash.
    this.looked = ''
    this.lookDue = true
    const { tail } = snapshot
    if (tail.regions !== null) {
      this.regions = []
    }
    this.applyTail(tail)
    this.touch(BIT.cells | BIT.details | (same ? 0 : BIT.layout))
  }

  frame(frame: Frame): boolean {
    // All of it fits, or nothing is applied.
    let count = this.count
    for (let i = 0; i < frame.moveIndex.length; i++) {
      count = Math.max(count, (frame.moveIndex[i] as number) + 1)
    }
    for (let i = 0; i < frame.words.length; i++) {
      if ((frame.words[i] as number) >>> 8 >= count) {
        return false
      }
    }
    if (frame.moveIndex.length > 0) {
      this.applyMoves(frame, count)
    }
    if (frame.words.length > 0) {
      this.applyWords(frame.words)
    }
    this.applyTail(frame.tail)
    this.frames++
    this.words += frame.words.length
    if (frame.oldestMs > 0 && (this.oldestMs === 0 || frame.oldestMs < this.oldestMs)) {
      this.oldestMs = frame.oldestMs
      this.wantFrame()
    }
    return true
  }

  /* --- columns --- */

  private applyMoves(frame: Frame, count: number): void {
    this.reserve(count)
    this.count = count
    for (let i = 0; i < frame.moveIndex.length; i++) {
      const index = frame.moveIndex[i] as number
      const region = frame.moveRegion[i] as number
      this.put(index, frame.moveCell[i] as number)
      this.regionOf[index] = region
      if (region === REGION_NONE && this.details.delete(index)) {
        this.touch(BIT.details)
      }
    }
    this.touch(BIT.cells | BIT.layout)
  }

  private applyWords(words: Uint32Array): void {
    for (let i = 0; i < words.length; i++) {
      const word = words[i] as number
      this.put(word >>> 8, word & 0xff)
    }
    this.touch(BIT.cells)
  }

  private put(index: number, cell: number): void {
    const was = this.cells[index] as number
    this.machines += (cell >>> 7) - (was >>> 7)
    this.cells[index] = cell
    this.dirty.add(index)
  }

  private reserve(count: number): void {
    if (count <= this.cells.length) {
      return
    }
    const size = Math.min(Math.max(count, 2 * this.cells.length, 1024), MACHINES_MAX)
    const cells = new Uint8Array(size)
    const regionOf = new Uint8Array(size).fill(REGION_NONE)
    cells.set(this.cells)
    regionOf.set(this.regionOf)
    this.cells = cells
    this.regionOf = regionOf
  }

  private applyTail(tail: Tail): void {
    if (tail.regions !== null && tail.regions.length > 0) {
      const regions = this.regions.slice()
      for (const region of tail.regions) {
        // Indices are dense at the dash, but rows may come in any order.
        while (regions.length < region.index) {
          regions.push(unknownRegion(regions.length))
        }
        regions[region.index] = region
      }
      this.regions = regions
      this.touch(BIT.regions)
    }
    if (tail.members !== null) {
      this.members = tail.members
      this.touch(BIT.members)
    }
    if (tail.changes !== null && tail.changes.length > 0) {
      this.changes = merged(tail.changes, this.changes)
      this.touch(BIT.changes)
    }
  }

  /* --- once a frame --- */

  private touch(bits: number): void {
    this.changed |= bits
    this.wantFrame()
  }

  private wantFrame(): void {
    if (!this.frameDue) {
      this.frameDue = true
      this.deps.frame(() => this.tell())
    }
  }

  private tell(): void {
    this.frameDue = false
    if (this.paintedOldestMs !== 0) {
      this.latencyMs = this.deps.wallMs() - this.paintedOldestMs
      this.paintedOldestMs = 0
    }
    const { changed } = this
    this.changed = 0
    if (changed !== 0) {
      for (const subscriber of this.subscribers) {
        if ((subscriber.parts & changed) !== 0) {
          subscriber.changed()
        }
      }
      if ((changed & BIT.cells) !== 0) {
        this.dirty.clear()
      }
    }
    if (this.lookDue) {
      this.lookDue = false
      this.sayLook()
    }
    if (this.oldestMs !== 0) {
      this.drawnMs = this.deps.wallMs() - this.oldestMs
      // Painted now; the next animation frame begins when that is on its way to the screen.
      this.paintedOldestMs = this.oldestMs
      this.oldestMs = 0
      this.wantFrame()
    }
  }

  private sayLook(): void {
    const union = new Set<number>()
    for (const indices of this.looks.values()) {
      for (const index of indices) {
        if (union.size < LOOK_MAX && index < this.count) {
          union.add(index)
        }
      }
    }
    for (const index of this.details.keys()) {
      if (!union.has(index)) {
        this.details.delete(index)
      }
    }
    const machines = [...union]
    const looked = machines.join()
    if (looked !== this.looked && this.link.say({ t: 'look', machines })) {
      this.looked = looked
    }
  }
}

function unknownRegion(index: number): Region {
  return {
    index,
    code: '',
    city: '',
    country: '',
    status: '',
    latitude: null,
    longitude: null,
    machines: 0,
    cordoned: 0,
    coresTotal: 0,
    coresFree: 0,
    memoryTotal: 0,
    memoryFree: 0,
    staleMs: 0,
  }
}

/** `later` is oldest first, the result newest first; a change that both have is there once. */
function merged(later: readonly Change[], before: readonly Change[]): Change[] {
  const all = later.slice().reverse()
  const known = new Set(all.map((c) => `${c.slice}.${c.seq}`))
  for (const change of before) {
    if (all.length >= CHANGES_MAX) {
      break
    }
    if (!known.has(`${change.slice}.${change.seq}`)) {
      all.push(change)
    }
  }
  return all.slice(0, CHANGES_MAX)
}

/** The browser's socket, fetch, clock. */
export function browserDeps(): FleetDeps {
  return {
    open(events) {
      const url = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/v1/live`
      const socket = new WebSocket(url)
      socket.binaryType = 'arraybuffer'
      socket.onmessage = (event: MessageEvent<unknown>) => events.message(event.data)
      socket.onclose = (event) => events.closed(event.code)
      return {
        send(text) {
          if (socket.readyState === WebSocket.OPEN) {
            socket.send(text)
          }
        },
        close() {
          socket.onmessage = null
          socket.close()
        },
      }
    },
    async get(path, timeoutMs) {
      const answer = await fetch(path, {
        signal: AbortSignal.timeout(timeoutMs),
        cache: 'no-store',
        credentials: 'same-origin',
      })
      return { status: answer.status, body: await answer.arrayBuffer() }
    },
    now: () => performance.now(),
    after(ms, run) {
      const timer = setTimeout(run, ms)
      return () => clearTimeout(timer)
    },
    random: () => Math.random(),
    hidden: () => document.hidden,
    onVisibility(changed) {
      document.addEventListener('visibilitychange', changed)
      return () => document.removeEventListener('visibilitychange', changed)
    },
    frame: (run) => void requestAnimationFrame(run),
    wallMs: () => performance.timeOrigin + performance.now(),
  }
}

/** One per page; not started. In a page it is `window.flylight` too, for tests to read. */
export function createFleet(deps?: FleetDeps): Fleet {
  const fleet = new Store(deps ?? browserDeps())
  if (deps === undefined) {
    Object.defineProperty(window, 'flylight', { value: fleet, configurable: true })
  }
  return fleet
}
