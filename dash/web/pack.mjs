/*
 * pack - from Vite's build/ to what is committed and embedded: dist/, where every file is gzipped,
 * with manifest.txt (path|mime|etag|file, sorted) and SOURCES.sha256 (every source that went in).
 * The same sources give the same bytes: no time, no name, no machine stands in them.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

const here = dirname(fileURLToPath(import.meta.url))
const INITIAL_MAX = 60_000

const MIMES = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
  json: 'application/json',
  txt: 'text/plain; charset=utf-8',
}

function files(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((one) => (one.isDirectory() ? files(join(folder, one.name)) : [join(folder, one.name)]))
    .sort((a, b) => (a < b ? -1 : 1))
}

function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex')
}

const build = join(here, 'build')
const dist = join(here, 'dist')
rmSync(dist, { recursive: true, force: true })

const lines = []
const sizes = new Map()
for (const file of files(build)) {
  const path = '/' + relative(build, file)
  const mime = MIMES[path.slice(path.lastIndexOf('.') + 1)]
  if (mime === undefined) {
    throw new Error(`${path}: pack.mjs knows no type for it`)
  }
  const bytes = readFileSync(file)
  const packed = gzipSync(bytes, { level: 9, memLevel: 9 })
  packed[9] = 255 // the operating system's byte: none
  const out = path.slice(1) + '.gz'
  mkdirSync(dirname(join(dist, out)), { recursive: true })
  writeFileSync(join(dist, out), packed)
  sizes.set(path, packed.length)
  lines.push(`${path}|${mime}|${sha256(bytes).slice(0, 32)}|${out}\n`)
}
writeFileSync(join(dist, 'manifest.txt'), lines.sort().join(''))

// tests/lint/dist has the same list
const sources = [
  ...['index.html', 'pack.mjs', 'package-lock.json', 'package.json', 'svelte.config.js', 'tsconfig.json', 'vite.config.ts'],
  ...files(join(here, 'public')).map((file) => relative(here, file)),
  ...files(join(here, 'src')).map((file) => relative(here, file)),
].sort((a, b) => (a < b ? -1 : 1))
writeFileSync(
  join(dist, 'SOURCES.sha256'),
  sources.map((file) => `${sha256(readFileSync(join(here, file)))}  ${file}\n`).join(''),
)

// what a browser fetches before the first cell: index.html and all that it names
const html = readFileSync(join(build, 'index.html'), 'utf8')
let initial = sizes.get('/index.html') ?? 0
for (const [, path] of html.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)) {
  initial += sizes.get(path) ?? Infinity
}
let total = 0
for (const [path, size] of [...sizes].sort((a, b) => b[1] - a[1])) {
  total += size
  console.log(`${String(size).padStart(7)}  ${path}`)
}
console.log(`${String(total).padStart(7)}  in all; initial transfer ${initial} bytes, at most ${INITIAL_MAX}`)
if (!(initial <= INITIAL_MAX)) {
  console.error('pack: the initial transfer is too large')
  process.exit(1)
}
