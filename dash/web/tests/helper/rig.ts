/*
 * rig - a browser that is a script: sockets, answers, clock, timers, tab and animation frames that
 * move when the test says so.
 */
import type { Answer, SocketEvents } from '../../src/core/link'
import type { FleetDeps } from '../../src/core/fleet'

export class FakeSocket {
  said: unknown[] = []
  closed = false
  constructor(readonly events: SocketEvents) {}
  send(text: string): void {
    this.said.push(JSON.parse(text))
  }
  close(): void {
    this.closed = true
  }
  hears(data: unknown): void {
    this.events.message(data)
  }
}
export interface Asked {
  readonly path: string
  readonly timeoutMs: number
  answer(status: number, body?: ArrayBuffer): Promise<void>
  fail(): Promise<void>
}

export class Rig {
  nowMs = 1000
  isHidden = false
  sockets: FakeSocket[] = []
  asked: Asked[] = []
  frames: (() => void)[] = []
  private timers: { at: number; run: () => void }[] = []
  private watchers = new Set<() => void>()

  readonly deps: FleetDeps = {
    open: (events) => {
      const socket = new FakeSocket(events)
      this.sockets.push(socket)
      return socket
    },
    get: (path, timeoutMs) =>
      new Promise<Answer>((resolve, reject) => {
        this.asked.push({
          path,
          timeoutMs,
          answer: async (status, body = new ArrayBuffer(0)) => {
            resolve({ status, body })
            await settled()
          },
          fail: async () => {
            reject(new Error('no answer'))
            await settled()
          },
        })
      }),
    now: () => this.nowMs,
    after: (ms, run) => {
      const timer = { at: this.nowMs + ms, run }
      this.timers.push(timer)
      return () => {
        this.timers = this.timers.filter((t) => t !== timer)
      }
    },
    random: () => 1,
    hidden: () => this.isHidden,
    onVisibility: (changed) => {
      this.watchers.add(changed)
      return () => this.watchers.delete(changed)
    },
    frame: (run) => void this.frames.push(run),
    wallMs: () => 1e12 + this.nowMs,
  }

  get socket(): FakeSocket {
    return this.sockets.at(-1) as FakeSocket
  }
  /** Takes the next question that was not answered; undefined: none. */
  next(path: string): Asked | undefined {
    const i = this.asked.findIndex((a) => a.path === path)
    return i < 0 ? undefined : this.asked.splice(i, 1)[0]
  }
  /** Time goes on, timer by timer; whoever asked is answered nothing meanwhile. */
  async pass(ms: number): Promise<void> {
    const end = this.nowMs + ms
    for (;;) {
      const due = this.timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0]
      if (due === undefined) {
        break
      }
      this.timers = this.timers.filter((t) => t !== due)
      this.nowMs = Math.max(this.nowMs, due.at)
      due.run()
      await settled()
    }
    this.nowMs = end
  }
  hide(hidden: boolean): void {
    this.isHidden = hidden
    for (const watcher of this.watchers) {
      watcher()
    }
  }
  paint(): void {
    for (const run of this.frames.splice(0)) {
      run()
    }
  }
  get timersLeft(): number {
    return this.timers.length + this.watchers.size
  }
}

/** What promises had to say was said. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 10; i++) {
    await Promise.resolve()
  }
}
