/*
 * link - the life of the page's connection: a WebSocket, and the fleet fetched whenever frames alone
 * do not tell the whole picture.
 *
 *   off ── start ──> opening ── hello ──> fetching ── fleet ──> following
 *                       ^ │                   ^                     │
 *       probe answered  │ └── closed ──┐      └── gap, resync, ─────┘
 *                       │              v          unreadable frame
 *                       └────────── probing <──── silent for STALE_MS, closed
 *
 * A browser does not tell why a WebSocket failed, so after a failure GET /v1/session asks first:
 * 401 ends it (signed out) unless the page can sign in anew by itself, silence or refusal is asked again, later and later: a twentieth of how
 * long it has been out, 100 ms to 2 s, jittered. Probes overlap, so that one that fell into a hole
 * of the network holds up none. A silent socket is kept meanwhile: a dash that was only stopped goes
 * on with it. A hidden tab gets no frames, and fetches the fleet when it is seen again.
 *
 * Pure but for what it is given: no global is touched, so tests script socket, fetch and clock.
 */
import { STALE_MS } from './types'
import type { LinkState } from './types'
import { decodeFleet, decodeMessage, WireError } from './wire'
import type { DetailMessage, Frame, Hello, Snapshot } from './wire'

export const BUFFER_MAX = 256
export const BACKOFF_MIN_MS = 100
export const BACKOFF_MAX_MS = 2000
export const PROBES_MAX = 4
export const PROBE_TIMEOUT_MS = 5000
/** From opening a socket to its hello, and for the fleet's bytes. */
export const HELLO_TIMEOUT_MS = 5000
export const FLEET_TIMEOUT_MS = 15000
const REFETCH_MIN_MS = 50
const CLOSE_SIGNED_OUT = 4401
/** In a row, without having been live between. */
const RENEWALS_MAX = 3

export interface SocketEvents {
  message(data: unknown): void
  /** Once, however it ended. */
  closed(code: number): void
}
export interface SocketLike {
  send(text: string): void
  close(): void
}
export interface Answer {
  readonly status: number
  readonly body: ArrayBuffer
}
export interface LinkDeps {
  open(events: SocketEvents): SocketLike
  /** Rejects when there is no answer within timeoutMs. */
  get(path: string, timeoutMs: number): Promise<Answer>
  now(): number
  /** Calls once, later; the function returned takes it back. */
  after(ms: number, run: () => void): () => void
  random(): number
  hidden(): boolean
  onVisibility(changed: () => void): () => void
  /** Signs in anew with what the page still knows, after a 401: a dash that began a new life knows no
   * session of its last. False: that is refused too; rejects: nobody answers. Null: the page knows nothing. */
  renew?(): Promise<boolean> | null
}
export interface LinkSink {
  hello(hello: Hello): void
  snapshot(snapshot: Snapshot): void
  /** False: it does not fit the picture (nothing of it was applied); the fleet is fetched. */
  frame(frame: Frame): boolean
  detail(detail: DetailMessage): void
  setState(state: LinkState): void
}

type Phase = 'off' | 'opening' | 'fetching' | 'following' | 'probing'

/** a is later than b, as u32 that wrap. */
function isAfter(a: number, b: number): boolean {
  return ((a - b) | 0) > 0
}

export class Link {
  gaps = 0
  resyncs = 0
  /** Messages that could not be read. */
  unreadable = 0
  state: LinkState = 'connecting'

  private phase: Phase = 'off'
  /** What it was doing when its socket fell silent. */
  private phaseBefore: 'fetching' | 'following' = 'fetching'
  private socket: SocketLike | null = null
  /** Counts sockets: what a former one says is not heard. */
  private socketLife = 0
  private boot = ''
  /** The last frame that is in the picture; while fetching, the last before `buffer`. */
  private seq = 0
  private buffer: Frame[] = []
  private fetchLife = 0
  private refetches = 0
  private pictured = false
  private paused = false
  private heardMs = 0
  /** When the picture was last right. */
  private followedMs = 0
  private outSinceMs = 0
  private renewals = 0
  private probes = 0
  private probeLife = 0
  private cancels: (() => void)[] = []
  private cancelTick: (() => void) | null = null
  private cancelProbe: (() => void) | null = null
  private cancelRefetch: (() => void) | null = null
  private openedMs = 0

  constructor(
    private readonly deps: LinkDeps,
    private readonly sink: LinkSink,
  ) {}

  start(): void {
    if (this.phase !== 'off') {
      return
    }
    this.setState(this.pictured ? 'stale' : 'connecting')
    this.outSinceMs = this.deps.now()
    this.cancels.push(this.deps.onVisibility(() => this.visibility()))
    this.open()
    this.tick()
  }

  stop(): void {
    this.phase = 'off'
    this.dropSocket()
    this.endProbing()
    this.cancelTick?.()
    this.cancelTick = null
    for (const cancel of this.cancels.splice(0)) {
      cancel()
    }
  }

  /** Said again by the caller after every hello. False: nobody to say it to now. */
  say(message: object): boolean {
    if (this.socket === null || this.phase === 'opening' || this.phase === 'off') {
      return false
    }
    this.socket.send(JSON.stringify(message))
    return true
  }

  private setState(state: LinkState): void {
    if (state !== this.state) {
      this.state = state
      this.sink.setState(state)
    }
  }

  private outOfTouch(): void {
    this.setState(this.pictured ? 'stale' : 'connecting')
  }

  /* --- socket --- */

  private open(): void {
    this.dropSocket()
    this.phase = 'opening'
    this.openedMs = this.deps.now()
    const life = this.socketLife
    this.socket = this.deps.open({
      message: (data) => {
        if (life === this.socketLife) {
          this.message(data)
        }
      },
      closed: (code) => {
        if (life === this.socketLife) {
          this.closed(code)
        }
      },
    })
  }

  private dropSocket(): void {
    this.socketLife++
    this.fetchLife++
    this.buffer = []
    this.cancelRefetch?.()
    this.cancelRefetch = null
    const socket = this.socket
    this.socket = null
    socket?.close()
  }

  private closed(code: number): void {
    this.dropSocket()
    if (code === CLOSE_SIGNED_OUT) {
      this.refused()
      return
    }
    this.outOfTouch()
    this.probeSoon()
  }

  /** 401. */
  private refused(): void {
    this.dropSocket()
    this.endProbing()
    const renewal = this.renewals < RENEWALS_MAX ? (this.deps.renew?.() ?? null) : null
    if (renewal === null) {
      this.signOut()
      return
    }
    this.renewals++
    this.phase = 'probing'
    this.outOfTouch()
    const life = this.probeLife
    renewal.then(
      (renewed) => {
        if (life === this.probeLife) {
          if (renewed) {
            this.open()
          } else {
            this.signOut()
          }
        }
      },
      () => {
        if (life === this.probeLife) {
          this.probeSoon()
        }
      },
    )
  }

  private signOut(): void {
    this.renewals = 0
    this.stop()
    this.setState('signedout')
  }

  private message(data: unknown): void {
    this.heardMs = this.deps.now()
    if (this.phase === 'probing') {
      // It was only silent: on where it was, if that still fits.
      this.endProbing()
      this.phase = this.phaseBefore
      if (this.phase === 'fetching') {
        this.fetchFleet()
      }
    }
    let message
    try {
      if (!(data instanceof ArrayBuffer)) {
        throw new WireError('text from the dash')
      }
      message = decodeMessage(data)
    } catch (error) {
      if (!(error instanceof WireError)) {
        throw error
      }
      this.unreadable++
      if (this.phase === 'following') {
        this.refetch()
      }
      return
    }
    switch (message.kind) {
      case 'hello':
        this.hello(message)
        break
      case 'frame':
        this.frame(message)
        break
      case 'detail':
        this.sink.detail(message)
        break
      case 'resync':
        this.resyncs++
        this.refetch()
        break
      case 'unknown':
        break
    }
  }

  private hello(hello: Hello): void {
    this.endProbing()
    this.boot = hello.boot
    this.seq = hello.seq
    this.phase = 'fetching'
    this.sink.hello(hello)
    this.paused = this.deps.hidden()
    if (this.paused) {
      this.say({ t: 'pause' })
    }
    this.fetchFleet()
  }

  /* --- frames and the fleet --- */

  private frame(frame: Frame): void {
    if (this.phase === 'fetching') {
      if (this.buffer.length === BUFFER_MAX) {
        this.seq = (this.buffer.shift() as Frame).seq
      }
      this.buffer.push(frame)
      return
    }
    if (this.phase === 'following') {
      this.follow(frame)
    }
  }

  private follow(frame: Frame): void {
    if (!isAfter(frame.seq, this.seq)) {
      return
    }
    if (frame.seq !== (this.seq + 1) >>> 0) {
      this.gaps++
      this.refetch(frame)
      return
    }
    if (!this.sink.frame(frame)) {
      this.unreadable++
      this.refetch()
      return
    }
    this.seq = frame.seq
    if (frame.resync) {
      this.resyncs++
      this.refetch()
      return
    }
    this.outSinceMs = 0
    this.refetches = 0
    this.renewals = 0
    this.followedMs = this.heardMs
    this.setState('live')
  }

  /** The picture is behind: frames are kept from here on, `first` among them. */
  private refetch(first?: Frame): void {
    if (this.socket === null || this.phase === 'opening') {
      return
    }
    this.phase = 'fetching'
    this.seq = this.buffer.at(-1)?.seq ?? this.seq
    this.buffer = []
    if (first !== undefined) {
      this.seq = (first.seq - 1) >>> 0
      this.buffer.push(first)
    }
    // A fleet that does not help is not asked for at the pace of frames.
    if (this.refetches > 0) {
      this.fetchLater()
    } else {
      this.refetches = 1
      this.fetchFleet()
    }
  }

  private fetchLater(): void {
    this.fetchLife++ // what is under way is of before
    this.refetches++
    const ms = Math.min(REFETCH_MIN_MS * 2 ** this.refetches, BACKOFF_MAX_MS)
    this.cancelRefetch?.()
    this.cancelRefetch = this.deps.after(ms * (0.5 + this.deps.random() / 2), () => {
      this.cancelRefetch = null
      this.fetchFleet()
    })
  }

  private fetchFleet(): void {
    this.cancelRefetch?.()
    this.cancelRefetch = null
    const life = ++this.fetchLife
    this.deps.get('/v1/fleet', FLEET_TIMEOUT_MS).then(
      (answer) => {
        if (life === this.fetchLife) {
          this.fetched(answer)
        }
      },
      () => {
        if (life === this.fetchLife) {
          this.fetchLater()
        }
      },
    )
  }

  private fetched(answer: Answer): void {
    if (answer.status === 401) {
      this.refused()
      return
    }
    let snapshot: Snapshot
    try {
      if (answer.status !== 200) {
        throw new WireError(`fleet: status ${answer.status}`)
      }
      snapshot = decodeFleet(answer.body)
    } catch (error) {
      if (!(error instanceof WireError)) {
        throw error
      }
      this.unreadable++
      this.fetchLater()
      return
    }
    // Another life of the dash, or of before a frame that was not kept: again.
    if (snapshot.boot !== this.boot || isAfter(this.seq, snapshot.seq)) {
      this.fetchLater()
      return
    }
    this.sink.snapshot(snapshot)
    this.pictured = true
    this.phase = 'following'
    this.seq = snapshot.seq
    const kept = this.buffer
    this.buffer = []
    this.outSinceMs = 0
    this.followedMs = this.deps.now()
    if (!this.paused) {
      this.setState('live')
    }
    for (let i = 0; i < kept.length; i++) {
      this.follow(kept[i] as Frame)
      if ((this.phase as Phase) !== 'following') {
        this.buffer.push(...kept.slice(i + 1))
        break
      }
    }
  }

  /* --- silence, probes --- */

  private tick(): void {
    this.cancelTick = this.deps.after(250, () => this.tick())
    if (this.paused || this.phase === 'off' || this.phase === 'probing') {
      return
    }
    const now = this.deps.now()
    if (this.phase === 'opening') {
      if (now - this.openedMs > HELLO_TIMEOUT_MS) {
        this.closed(0)
      }
    } else if (now - this.heardMs > STALE_MS) {
      // The socket stays: it may only be asleep.
      this.outOfTouch()
      this.fetchLife++
      this.phaseBefore = this.phase
      this.probe()
    } else if (this.phase === 'fetching' && now - this.followedMs > STALE_MS) {
      this.outOfTouch()
    }
  }

  private endProbing(): void {
    this.probeLife++
    this.probes = 0
    this.cancelProbe?.()
    this.cancelProbe = null
  }

  private probeSoon(): void {
    const now = this.deps.now()
    this.phase = 'probing'
    if (this.outSinceMs === 0) {
      this.outSinceMs = now
    }
    const out = (now - this.outSinceMs) / 20
    const ms = Math.min(Math.max(out, BACKOFF_MIN_MS), BACKOFF_MAX_MS)
    this.cancelProbe?.()
    this.cancelProbe = this.deps.after(ms * (0.5 + this.deps.random() / 2), () => this.probe())
  }

  private probe(): void {
    this.probeSoon()
    if (this.probes >= PROBES_MAX || this.paused) {
      return
    }
    this.probes++
    const life = this.probeLife
    this.deps.get('/v1/session', PROBE_TIMEOUT_MS).then(
      (answer) => {
        if (life !== this.probeLife) {
          return
        }
        this.probes--
        if (answer.status === 401) {
          this.refused()
        } else if (answer.status === 200) {
          this.endProbing()
          this.open()
        }
      },
      () => {
        if (life === this.probeLife) {
          this.probes--
        }
      },
    )
  }

  /* --- the tab --- */

  private visibility(): void {
    const hidden = this.deps.hidden()
    if (hidden === this.paused) {
      return
    }
    this.paused = hidden
    if (hidden) {
      this.say({ t: 'pause' })
      return
    }
    this.heardMs = this.deps.now()
    if (this.phase === 'following' || this.phase === 'fetching') {
      // What is shown is of when it was hidden; the dash answers with a resync.
      this.outOfTouch()
    }
    if (!this.say({ t: 'resume' }) && this.phase === 'probing') {
      this.probe()
    }
  }
}
