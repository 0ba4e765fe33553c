/*
 * fakedash - a dash that is not there: serves a built page, /v1/session, /v1/fleet and /v1/live with
 * machines that change at a given pace. For developing the page; figures are taken against the real one.
 *
 *   node tests/helper/fakedash.mjs [--port 7499] [--machines 100000] [--regions 12] [--changes 5000]
 *        [--pace-ms 16] [--dir build] [--stale N]
 */
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { readFileSync } from 'node:fs'
import { extname, join, normalize } from 'node:path'
import { parseArgs } from 'node:util'
import { gzipSync } from 'node:zlib'
import { encode } from '@msgpack/msgpack'

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '7499' },
    machines: { type: 'string', default: '100000' },
    regions: { type: 'string', default: '12' },
    changes: { type: 'string', default: '5000' },
    'pace-ms': { type: 'string', default: '16' },
    dir: { type: 'string', default: 'build' },
    stale: { type: 'string', default: '-1' },
  },
})
const machines = Number(values.machines)
const regionCount = Number(values.regions)
const changes = Number(values.changes)
const paceMs = Number(values['pace-ms'])
const stale = Number(values.stale)
const CODES = 'SIN FRA AMS ORD IAD LHR NRT SYD GRU JNB CDG SEA'.split(' ')
const CITIES = 'Singapore Frankfurt Amsterdam Chicago Ashburn London Tokyo Sydney Sao_Paulo Johannesburg Paris Seattle'.split(' ')
const boot = 'feedfacecafef00d'
let seed = 12345
const random = () => ((seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff) / 0x7fffffff)

const cells = new Uint8Array(machines)
const regionOf = new Uint8Array(machines)
for (let i = 0; i < machines; i++) {
  regionOf[i] = Math.floor(random() ** 1.5 * regionCount)
  cells[i] = 0x80 | Math.floor(random() ** 2 * 32) | (random() < 0.01 ? 0x20 : 0)
}
function regions() {
  const rows = []
  for (let r = 0; r < regionCount; r++) {
    let count = 0
    let cordoned = 0
    let taken = 0
    for (let i = 0; i < machines; i++) {
      if (regionOf[i] === r) {
        count++
        taken += (cells[i] & 31) / 31
        cordoned += (cells[i] >> 5) & 1
      }
    }
    const code = CODES[r] ?? `R${r}`
    rows.push([
      r, code, (CITIES[r] ?? 'Town').replace('_', ' '), 'Land', 'operational', 10, 10, count, cordoned,
      16 * count, Math.round(16 * (count - taken)), 64e9 * count, Math.round(64e9 * (count - taken)),
      r === stale ? 9000 : 100,
    ])
  }
  return rows
}
let regionRows = regions()
let seq = 0

function frame() {
  const now = Date.now()
  const bytes = Buffer.alloc(28 + 4 * changes)
  bytes[0] = 1
  bytes[1] = 1
  bytes.writeUInt32LE(++seq, 4)
  bytes.writeDoubleLE(changes > 0 ? now : 0, 8)
  bytes.writeUInt32LE(changes, 16)
  for (let k = 0; k < changes; k++) {
    const i = Math.floor(random() * machines)
    const cell = 0x80 | (cells[i] & 0x20) | Math.floor(random() ** 2 * 32)
    cells[i] = cell
    bytes.writeUInt32LE(i * 256 + cell, 28 + 4 * k)
  }
  return bytes
}
function fleet() {
  const tail = encode({ r: regionRows, m: [], e: [] })
  const head = Buffer.alloc(28)
  head.write('FLYF')
  head.writeUInt32LE(1, 4)
  head.writeBigUInt64LE(BigInt(`0x${boot}`), 8)
  head.writeUInt32LE(seq, 16)
  head.writeUInt32LE(machines, 20)
  head.writeUInt32LE(tail.length, 24)
  return gzipSync(Buffer.concat([head, cells, regionOf, tail]), { level: 1 })
}
function message(map) {
  return Buffer.concat([Buffer.from([2]), encode(map)])
}
function wrap(payload, opcode = 2) {
  const n = payload.length
  const head = n < 126 ? Buffer.from([0x80 | opcode, n]) : n < 65536 ? Buffer.alloc(4) : Buffer.alloc(10)
  if (n >= 126) {
    head[0] = 0x80 | opcode
    head[1] = n < 65536 ? 126 : 127
    n < 65536 ? head.writeUInt16BE(n, 2) : head.writeBigUInt64BE(BigInt(n), 2)
  }
  return Buffer.concat([head, payload])
}

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml' }
const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://x')
  const json = (value) => response.setHeader('Content-Type', 'application/json').end(JSON.stringify(value))
  if (url.pathname === '/v1/session') {
    json({ subject: 'ann', scopes: ['regions', 'launch', 'read', 'destroy', 'watch'], expires: '2030-01-01T00:00:00.000Z' })
  } else if (url.pathname === '/v1/fleet') {
    response.setHeader('Content-Encoding', 'gzip').end(fleet())
  } else if (url.pathname === '/v1/machines') {
    const q = url.searchParams.get('q') ?? ''
    const found = []
    for (let i = 0; i < machines && found.length < 500; i++) {
      if (`m${i}`.includes(q)) {
        found.push({ index: i, name: `m${i}` })
      }
    }
    json({ machines: found, next: '' })
  } else if (url.pathname.startsWith('/v1/')) {
    json({})
  } else {
    let path = normalize(join(values.dir, url.pathname))
    if (extname(path) === '') {
      path = join(values.dir, 'index.html')
    }
    try {
      const body = readFileSync(path)
      response.setHeader('Content-Security-Policy', "default-src 'self'")
      response.setHeader('Content-Encoding', 'gzip')
      response.setHeader('Content-Type', TYPES[extname(path)] ?? 'application/octet-stream').end(gzipSync(body))
    } catch {
      response.writeHead(404).end()
    }
  }
})

const sockets = new Set()
server.on('upgrade', (request, socket) => {
  const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
  socket.setNoDelay(true)
  const say = (map) => socket.write(wrap(message(map)))
  say({
    t: 'hello', boot, seq, node: 'fake', region: 'SIN', cluster: 'f'.repeat(32), version: '0.1.0', subject: 'ann',
    scopes: ['regions', 'launch', 'read', 'destroy', 'watch'], expires_ms: 1.9e12, pace_ms: paceMs,
  })
  const me = { socket, paused: false }
  sockets.add(me)
  let kept = Buffer.alloc(0)
  socket.on('data', (data) => {
    kept = Buffer.concat([kept, data])
    for (;;) {
      if (kept.length < 6) return
      let n = kept[1] & 127
      let at = 2
      if (n === 126) {
        n = kept.readUInt16BE(2)
        at = 4
      }
      if (kept.length < at + 4 + n) return
      const text = Buffer.from(kept.subarray(at + 4, at + 4 + n))
      for (let i = 0; i < n; i++) text[i] ^= kept[at + (i & 3)]
      const opcode = kept[0] & 15
      kept = kept.subarray(at + 4 + n)
      if (opcode === 8) return socket.end()
      const said = JSON.parse(text.toString())
      if (said.t === 'look') {
        say({
          t: 'detail',
          rows: said.machines.map((i) => {
            const free = 31 - (cells[i] & 31)
            return [i, `m${i}`, '00000a', regionOf[i], 32, free, 128e9, free * 4e9, (cells[i] & 0x20) !== 0]
          }),
        })
      }
      me.paused = said.t === 'pause' || (me.paused && said.t !== 'resume')
      if (said.t === 'resume') say({ t: 'resync', why: 'paused' })
    }
  })
  socket.on('close', () => sockets.delete(me))
  socket.on('error', () => sockets.delete(me))
})
setInterval(() => {
  const bytes = wrap(frame())
  for (const s of sockets) {
    if (!s.paused && s.socket.writableLength < 4e6) s.socket.write(bytes)
  }
}, paceMs)
setInterval(() => (regionRows = regions()), 5000)
server.listen(Number(values.port), '127.0.0.1', () => console.log(`http://127.0.0.1:${values.port}`))
