import { beforeEach, describe, expect, it } from 'vitest'
import { BACKOFF_MAX_MS, BUFFER_MAX, HELLO_TIMEOUT_MS, Link, PROBES_MAX } from '../src/core/link'
import type { LinkSink } from '../src/core/link'
import { BOOT, fleetBytes, frameBytes, helloMap, messageBytes } from './helper/encode'
import { Rig } from './helper/rig'

let rig: Rig
let link: Link
/** What the picture was told, in order: "fleet 5", 6, 7, … */
let applied: (string | number)[]
let states: string[]
let fits: boolean

function fleetAt(seq: number, boot = BOOT): ArrayBuffer {
  return fleetBytes({ boot, seq, cells: [0x81], regions: [0] })
}
function frame(seq: number, flags = 0): ArrayBuffer {
  return frameBytes({ seq, flags })
}
function hello(seq: number, boot = BOOT): void {
  rig.socket.hears(messageBytes(helloMap(seq, boot)))
}
async function fleet(seq: number, boot = BOOT): Promise<void> {
  const asked = rig.next('/v1/fleet')
  expect(asked, 'the fleet was asked for').toBeDefined()
  await asked?.answer(200, fleetAt(seq, boot))
}
function frames(...seqs: number[]): void {
  for (const seq of seqs) {
    rig.socket.hears(frame(seq))
  }
}
async function live(seq = 10): Promise<void> {
  link.start()
  hello(seq)
  await fleet(seq)
  expect(link.state).toBe('live')
}

beforeEach(() => {
  rig = new Rig()
  applied = []
  states = []
  fits = true
  const sink: LinkSink = {
    hello: () => undefined,
    snapshot: (s) => void applied.push(`fleet ${s.seq}`),
    frame: (f) => {
      if (fits) {
        applied.push(f.seq)
      }
      return fits
    },
    detail: () => void applied.push('detail'),
    setState: (s) => void states.push(s),
  }
  link = new Link(rig.deps, sink)
})

describe('coming up', () => {
  it('applies the fleet and then what is later than it', async () => {
    link.start()
    expect(link.state).toBe('connecting')
    hello(10)
    frames(11, 12, 13)
    expect(applied).toEqual([])
    await fleet(12)
    expect(applied).toEqual(['fleet 12', 13])
    frames(14)
    expect(applied).toEqual(['fleet 12', 13, 14])
    expect(states).toEqual(['live'])
    expect(link.gaps).toBe(0)
  })

  it('asks again for a fleet of before the frames it kept', async () => {
    link.start()
    hello(10)
    frames(11)
    await fleet(9)
    expect(applied).toEqual([])
    await rig.pass(200)
    await fleet(11)
    frames(12)
    expect(applied).toEqual(['fleet 11', 12])
  })

  it('asks again for a fleet of another life', async () => {
    link.start()
    hello(10)
    await fleet(10, 'ffffffffffffffff')
    expect(applied).toEqual([])
    await rig.pass(200)
    await fleet(10)
    expect(applied).toEqual(['fleet 10'])
  })

  it('asks again, later and later, when the fleet cannot be had or read', async () => {
    link.start()
    hello(10)
    await rig.next('/v1/fleet')?.fail()
    await rig.pass(200)
    await rig.next('/v1/fleet')?.answer(503)
    await rig.pass(90)
    expect(rig.next('/v1/fleet')).toBeUndefined()
    await rig.pass(200)
    await rig.next('/v1/fleet')?.answer(200, new ArrayBuffer(3))
    await rig.pass(500)
    await fleet(10)
    expect(applied).toEqual(['fleet 10'])
  })

  it('keeps the latest frames only, and no fleet of before them', async () => {
    link.start()
    hello(0)
    for (let seq = 1; seq <= BUFFER_MAX + 10; seq++) {
      frames(seq)
    }
    await fleet(5)
    expect(applied).toEqual([])
    await rig.pass(200)
    await fleet(20)
    expect(applied.length).toBe(1 + BUFFER_MAX + 10 - 20)
    expect(applied.at(-1)).toBe(BUFFER_MAX + 10)
  })

  it('gives up on a socket that says nothing', async () => {
    link.start()
    await rig.pass(HELLO_TIMEOUT_MS + 1000)
    expect(rig.sockets[0]?.closed).toBe(true)
    await rig.next('/v1/session')?.answer(200)
    expect(rig.sockets.length).toBe(2)
  })
})

describe('following', () => {
  it('finds a gap, keeps what follows it and fetches', async () => {
    await live(10)
    frames(11, 13, 14)
    expect(applied).toEqual(['fleet 10', 11])
    expect(link.gaps).toBe(1)
    frames(15)
    await fleet(13)
    expect(applied).toEqual(['fleet 10', 11, 'fleet 13', 14, 15])
    expect(states).toEqual(['live'])
  })

  it('finds a gap among what it kept', async () => {
    link.start()
    hello(10)
    frames(11, 14, 15)
    await fleet(10)
    expect(applied).toEqual(['fleet 10', 11])
    expect(link.gaps).toBe(1)
    await rig.pass(200)
    await fleet(14)
    frames(16)
    expect(applied).toEqual(['fleet 10', 11, 'fleet 14', 15, 16])
  })

  it('does not take a frame twice', async () => {
    await live(10)
    frames(11, 11, 10, 12)
    expect(applied).toEqual(['fleet 10', 11, 12])
    expect(link.gaps).toBe(0)
  })

  it('counts on past 2^32', async () => {
    await live(0xfffffffe)
    frames(0xffffffff, 0, 1)
    expect(applied).toEqual([`fleet ${0xfffffffe}`, 0xffffffff, 0, 1])
    expect(link.gaps).toBe(0)
  })

  it.each([
    ['a frame says so', () => rig.socket.hears(frame(11, 1))],
    ['the dash says so', () => rig.socket.hears(messageBytes({ t: 'resync', why: 'slow' }))],
  ])('fetches when %s', async (_what, say) => {
    await live(10)
    say()
    expect(link.resyncs).toBe(1)
    await fleet(20)
    frames(21)
    expect(applied.slice(-2)).toEqual(['fleet 20', 21])
  })

  it('fetches when a message cannot be read, and applies nothing of it', async () => {
    await live(10)
    rig.socket.hears(frame(11).slice(0, 20))
    expect(link.unreadable).toBe(1)
    expect(applied).toEqual(['fleet 10'])
    await fleet(11)
    frames(12)
    expect(applied).toEqual(['fleet 10', 'fleet 11', 12])
    rig.socket.hears('text')
    expect(link.unreadable).toBe(2)
  })

  it('does not fetch at the pace of frames when frames never fit', async () => {
    await live(10)
    fits = false
    let fetched = 0
    for (let seq = 11; seq < 311; seq++) {
      frames(seq)
      const asked = rig.next('/v1/fleet')
      if (asked !== undefined) {
        fetched++
        await asked.answer(200, fleetAt(seq - 1))
      }
      await rig.pass(16)
    }
    expect(fetched).toBeGreaterThan(2)
    expect(fetched).toBeLessThan(12)
  })

  it('is stale when a fleet does not come, though frames do', async () => {
    await live(10)
    frames(12)
    for (let seq = 13; seq < 18; seq++) {
      await rig.pass(900)
      frames(seq)
    }
    expect(link.state).toBe('stale')
    await fleet(17)
    expect(link.state).toBe('live')
  })
})

describe('out of touch', () => {
  it('is stale after silence, keeps the socket, and goes on with it', async () => {
    await live(10)
    await rig.pass(2900)
    expect(link.state).toBe('live')
    await rig.pass(600)
    expect(link.state).toBe('stale')
    expect(rig.socket.closed).toBe(false)
    await rig.pass(7000)
    frames(11, 12)
    expect(link.state).toBe('live')
    expect(applied).toEqual(['fleet 10', 11, 12])
    expect(rig.sockets.length).toBe(1)
    // probes that are answered now are too late to matter
    await rig.next('/v1/session')?.answer(200)
    expect(rig.sockets.length).toBe(1)
  })

  it('asks with probes that overlap, a few at most, and opens anew when one is answered', async () => {
    await live(10)
    await rig.pass(10_000)
    expect(rig.asked.filter((a) => a.path === '/v1/session').length).toBe(PROBES_MAX)
    const last = rig.asked.at(-1)
    await last?.answer(200)
    expect(rig.sockets.length).toBe(2)
    expect(rig.sockets[0]?.closed).toBe(true)
    hello(30)
    await fleet(30)
    expect(link.state).toBe('live')
    // what the former socket says is not heard
    rig.sockets[0]?.hears(frame(11))
    expect(applied).toEqual(['fleet 10', 'fleet 30'])
  })

  it('is back at once after an outage of ten seconds, refused or dropped', async () => {
    await live(10)
    rig.socket.events.closed(1006)
    expect(link.state).toBe('stale')
    const gone = rig.nowMs
    while (rig.nowMs < gone + 10_000) {
      await rig.pass(50)
      await rig.next('/v1/session')?.fail()
    }
    // the network is there again now
    const back = rig.nowMs
    while (rig.sockets.length < 2) {
      await rig.pass(50)
      await rig.next('/v1/session')?.answer(200)
    }
    expect(rig.nowMs - back).toBeLessThanOrEqual(700)
  })

  it('asks less often the longer it lasts', async () => {
    await live(10)
    rig.socket.events.closed(1006)
    const times: number[] = []
    for (let i = 0; i < 20_000; i++) {
      await rig.pass(10)
      const asked = rig.next('/v1/session')
      if (asked !== undefined) {
        times.push(rig.nowMs)
        await asked.fail()
      }
    }
    const gaps = times.slice(1).map((t, i) => t - (times[i] as number))
    expect(gaps[0]).toBeLessThanOrEqual(120)
    expect(gaps.every((gap, i) => i === 0 || gap >= (gaps[i - 1] as number) - 20)).toBe(true)
    expect(gaps.at(-1)).toBe(BACKOFF_MAX_MS)
  }, 10_000)

  it('does not open again while it is told "not now"', async () => {
    await live(10)
    rig.socket.events.closed(1013)
    await rig.pass(200)
    await rig.next('/v1/session')?.answer(503)
    expect(rig.sockets.length).toBe(1)
    await rig.pass(500)
    await rig.next('/v1/session')?.answer(200)
    expect(rig.sockets.length).toBe(2)
  })
})

describe('signed out', () => {
  it.each([
    ['at the door', () => rig.next('/v1/session')?.answer(401)],
    ['by the fleet', () => rig.next('/v1/fleet')?.answer(401)],
    ['by the socket', () => Promise.resolve(rig.socket.events.closed(4401))],
  ])('%s, and comes back when started again', async (what, out) => {
    link.start()
    if (what === 'at the door') {
      rig.socket.events.closed(1006)
      await rig.pass(200)
    } else {
      hello(10)
    }
    await out()
    expect(link.state).toBe('signedout')
    expect(rig.timersLeft).toBe(0)
    const sockets = rig.sockets.length
    await rig.pass(60_000)
    expect(rig.sockets.length).toBe(sockets)
    link.start()
    expect(link.state).toBe('connecting')
    hello(20)
    rig.asked = rig.asked.slice(-1)
    await fleet(20)
    expect(link.state).toBe('live')
  })
})

describe('a dash of another life', () => {
  let answers: (boolean | Error)[]
  beforeEach(() => {
    answers = []
    rig.deps.renew = () => {
      const answer = answers.shift()
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer ?? true)
    }
    link = new Link(rig.deps, {
      hello: () => undefined,
      snapshot: (s) => void applied.push(`fleet ${s.seq}`),
      frame: () => true,
      detail: () => undefined,
      setState: (s) => void states.push(s),
    })
  })
  async function restarted(): Promise<void> {
    await live(10)
    rig.socket.events.closed(1006)
    await rig.pass(200)
    await rig.next('/v1/session')?.answer(401)
  }

  it('is signed in to anew, and nobody is asked', async () => {
    await restarted()
    expect(rig.sockets.length).toBe(2)
    hello(0, 'ffffffffffffffff')
    await fleet(3, 'ffffffffffffffff')
    expect(link.state).toBe('live')
    expect(states).toEqual(['live', 'stale', 'live'])
  })
  it('that refuses has signed out', async () => {
    answers = [false]
    await restarted()
    expect(link.state).toBe('signedout')
    expect(rig.timersLeft).toBe(0)
  })
  it('that does not answer is asked again', async () => {
    answers = [new Error('gone'), true]
    await restarted()
    expect(link.state).toBe('stale')
    rig.asked = [] // answers to probes of before count no more
    await rig.pass(300)
    await rig.next('/v1/session')?.answer(401)
    expect(rig.sockets.length).toBe(2)
  })
  it('that takes it and refuses all the same has signed out, after a few', async () => {
    await restarted()
    for (let i = 0; i < 5 && (link.state as string) !== 'signedout'; i++) {
      rig.socket.events.closed(4401)
      await rig.pass(0)
    }
    expect(link.state).toBe('signedout')
    expect(rig.sockets.length).toBeLessThan(6)
  })
  it('is not signed in to after the link was stopped', async () => {
    await live(10)
    rig.socket.events.closed(4401)
    link.stop()
    await rig.pass(1000)
    expect(rig.sockets.length).toBe(1)
  })
})

describe('a hidden tab', () => {
  it('pauses, is not stale for it, and fetches when it is seen', async () => {
    await live(10)
    rig.hide(true)
    expect(rig.socket.said).toEqual([{ t: 'pause' }])
    await rig.pass(60_000)
    expect(rig.asked).toEqual([])
    rig.hide(false)
    expect(rig.socket.said).toEqual([{ t: 'pause' }, { t: 'resume' }])
    expect(link.state).toBe('stale')
    rig.socket.hears(messageBytes({ t: 'resync', why: 'paused' }))
    frames(501)
    await fleet(500)
    expect(applied).toEqual(['fleet 10', 'fleet 500', 501])
    expect(link.state).toBe('live')
  })

  it('that lost its socket connects when it is seen', async () => {
    await live(10)
    rig.hide(true)
    rig.socket.events.closed(1006)
    await rig.pass(60_000)
    expect(rig.asked).toEqual([])
    rig.hide(false)
    await rig.next('/v1/session')?.answer(200)
    expect(rig.sockets.length).toBe(2)
  })

  it('that was opened hidden says so', async () => {
    rig.isHidden = true
    link.start()
    hello(10)
    expect(rig.socket.said).toEqual([{ t: 'pause' }])
    await fleet(10)
    expect(link.state).not.toBe('live')
    rig.hide(false)
    rig.socket.hears(messageBytes({ t: 'resync', why: 'paused' }))
    await fleet(40)
    expect(link.state).toBe('live')
  })
})

it('stopped, leaves nothing behind', async () => {
  await live(10)
  link.stop()
  expect(rig.socket.closed).toBe(true)
  expect(rig.timersLeft).toBe(0)
  link.stop()
  link.start()
  expect(rig.sockets.length).toBe(2)
})
