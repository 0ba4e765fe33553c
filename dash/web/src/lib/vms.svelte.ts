/*
 * vms - the VMs that run, kept live: one list from GET /v1/vms, then every vm_started and
 * vm_destroyed that the stream brings. A gap in a slice's numbers, or a picture that had to be
 * fetched anew, fetches the list again: what is shown is never silently short.
 */
import type { Change, Vm } from '../core/types'
import { ApiError, listVms } from './api'

const LIST_MAX = 5000
/** With what starts meanwhile; the oldest go. */
const KEPT_MAX = 2 * LIST_MAX
const AGAIN_MS = 1000
/** After a gap: on a cluster so busy that changes are left out, this often. */
const GAP_MS = 4000
/** Between two orders of the list, when the stream changes it. */
const PUBLISH_MS = 250
const GONE_MAX = 4096

/** Newest first; ids break ties. */
function newer(a: Vm, b: Vm): number {
  return b.createdMs - a.createdMs || (a.id < b.id ? 1 : -1)
}

class Vms {
  /** By time of creation, newest first. */
  all = $state.raw<readonly Vm[]>([])
  unreachable = $state.raw<readonly string[]>([])
  /** There are more than LIST_MAX; the list shows the first. */
  more = $state(false)
  loaded = $state(false)
  error = $state.raw<ApiError | null>(null)
  /** Views that show the list now. Without one nothing is gathered: the next view asks anyway. */
  watchers = 0

  #byId = new Map<string, Vm>()
  /** The page's last launch: its VM's page comes when the list has been forgotten. */
  #launched: Vm | null = null
  /** Destroyed while a list was under way: it may still name them. */
  #gone = new Set<string>()
  #seen = new Map<string, number>()
  #timer = 0
  #publishTimer = 0
  #publishedAt = -Infinity
  #busy = false
  #again = false
  #resyncs = -1

  /** Call when the changes changed. */
  take(changes: readonly Change[], resyncs: number): void {
    let touched = false
    let gap = resyncs !== this.#resyncs && this.#resyncs >= 0
    this.#resyncs = resyncs
    // newest first: walk from the oldest that is new here
    for (let i = changes.length - 1; i >= 0; i--) {
      const change = changes[i]
      if (change === undefined) {
        continue
      }
      const before = this.#seen.get(change.slice)
      if (before !== undefined && change.seq <= before) {
        continue
      }
      if (before !== undefined && change.seq !== before + 1) {
        gap = true
      }
      this.#seen.set(change.slice, change.seq)
      touched = (this.watchers > 0 && this.#apply(change)) || touched
    }
    if (touched) {
      this.#publishSoon()
    }
    if (gap && this.loaded && this.watchers > 0) {
      this.refresh(GAP_MS)
    }
  }

  #apply(change: Change): boolean {
    if (change.type === 'vm_started') {
      const known = this.#byId.get(change.vm)
      this.put({
        id: change.vm,
        name: change.name,
        region: change.region,
        machine: change.machine,
        cores: change.cores,
        memory: change.memory,
        state: 'started',
        slice: change.slice,
        createdMs: known?.createdMs || change.timeMs,
        destroyedMs: 0,
        subject: known?.subject ?? '',
      })
      return true
    }
    if (change.type === 'vm_destroyed') {
      this.#forget(change.vm)
      return this.#byId.delete(change.vm)
    }
    return false
  }

  put(vm: Vm): void {
    this.#byId.set(vm.id, vm)
  }

  /** Of a launch's answer: the page shows it before the stream does. */
  started(vm: Vm): void {
    this.#launched = vm
    if (!this.#gone.has(vm.id)) {
      this.put(vm)
      this.#publish()
    }
  }

  #forget(id: string): void {
    if (this.#gone.size >= GONE_MAX) {
      this.#gone.clear()
    }
    this.#gone.add(id)
  }

  destroyed(id: string): void {
    this.#forget(id)
    this.#launched = this.#launched?.id === id ? null : this.#launched
    if (this.#byId.delete(id)) {
      this.#publish()
    }
  }

  get(id: string): Vm | undefined {
    return this.#byId.get(id) ?? (this.#launched?.id === id ? this.#launched : undefined)
  }

  #publishSoon(): void {
    if (this.#publishTimer === 0) {
      const left = this.#publishedAt + PUBLISH_MS - performance.now()
      this.#publishTimer = window.setTimeout(() => this.#publish(), Math.max(0, left))
    }
  }

  #publish(): void {
    window.clearTimeout(this.#publishTimer)
    this.#publishTimer = 0
    this.#publishedAt = performance.now()
    const all = [...this.#byId.values()].sort(newer)
    if (all.length > KEPT_MAX) {
      for (const vm of all.splice(KEPT_MAX)) {
        this.#byId.delete(vm.id)
      }
      this.more = true
    }
    this.all = all
  }

  /** The last view that showed the list has gone. */
  forget(): void {
    this.#byId.clear()
    this.#gone.clear()
    this.all = []
    this.loaded = false
  }

  /** Fetches the list in `afterMs`, unless that is on its way. */
  refresh(afterMs = 0): void {
    if (this.#busy) {
      this.#again = true
    } else if (this.#timer === 0) {
      this.#timer = window.setTimeout(() => void this.#fetch(), afterMs)
    }
  }

  async #fetch(): Promise<void> {
    this.#timer = 0
    this.#busy = true
    this.#again = false
    this.#gone.clear()
    const before = new Set(this.#byId.keys())
    try {
      const page = await listVms(LIST_MAX)
      const listed = new Map<string, Vm>()
      for (const vm of page.vms) {
        if (!this.#gone.has(vm.id) && vm.state !== 'destroyed') {
          listed.set(vm.id, vm)
        }
      }
      // started while the list was under way, and not yet in it; and what slices that did not
      // answer are known to hold
      for (const [id, vm] of this.#byId) {
        if (!listed.has(id) && (!before.has(id) || page.unreachable.includes(vm.slice))) {
          listed.set(id, vm)
        }
      }
      this.#byId = listed
      this.unreachable = page.unreachable
      this.more = page.more
      this.error = null
      this.loaded = true
      this.#publish()
    } catch (thrown) {
      this.error = thrown instanceof ApiError ? thrown : new ApiError(0, 'ERROR', String(thrown), '', true, 0)
      if (this.error.retryable || this.error.status >= 500) {
        this.#again = true
      }
    } finally {
      this.#busy = false
    }
    if (this.#again) {
      this.refresh(this.error === null ? GAP_MS : AGAIN_MS * 2)
    }
  }
}

export const vms = new Vms()
