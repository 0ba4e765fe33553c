/*
 * encode - the wire's bytes, written by hand from docs/DASH.md: what the decoder is held against. It
 * shares nothing with src/core/wire.ts.
 */
import { encode as msgpack } from '@msgpack/msgpack'

export interface FrameParts {
  flags?: number
  seq: number
  oldestMs?: number
  words?: [index: number, cell: number][]
  moves?: [index: number, region: number, cell: number][]
  tail?: Record<string, unknown>
}

function le(value: number, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** i) % 256)
}

function f64(value: number): number[] {
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, value, true)
  return [...new Uint8Array(view.buffer)]
}

function buffer(bytes: readonly number[]): ArrayBuffer {
  return new Uint8Array(bytes).buffer
}

export function frameBytes(f: FrameParts): ArrayBuffer {
  const tail = f.tail === undefined ? [] : [...msgpack(f.tail)]
  return buffer([
    1,
    1,
    ...le(f.flags ?? 0, 2),
    ...le(f.seq, 4),
    ...f64(f.oldestMs ?? 0),
    ...le(f.words?.length ?? 0, 4),
    ...le(f.moves?.length ?? 0, 4),
    ...le(tail.length, 4),
    ...(f.words ?? []).flatMap(([index, cell]) => [cell, ...le(index, 3)]),
    ...(f.moves ?? []).flatMap(([index, region, cell]) => [...le(index, 4), region, cell, 0, 0]),
    ...tail,
  ])
}

export function messageBytes(map: Record<string, unknown>): ArrayBuffer {
  return buffer([2, ...msgpack(map)])
}

export function fleetBytes(f: {
  boot?: string
  seq: number
  cells: readonly number[]
  regions: readonly number[]
  tail?: Record<string, unknown>
}): ArrayBuffer {
  const tail = f.tail === undefined ? [] : [...msgpack(f.tail)]
  const boot = (f.boot ?? BOOT).match(/../g)?.map((h) => parseInt(h, 16)) ?? []
  return buffer([
    0x46,
    0x4c,
    0x59,
    0x46,
    ...le(1, 4),
    ...boot.reverse(),
    ...le(f.seq, 4),
    ...le(f.cells.length, 4),
    ...le(tail.length, 4),
    ...f.cells,
    ...f.regions,
    ...tail,
  ])
}

export const BOOT = '0123456789abcdef'

export function helloMap(seq: number, boot = BOOT): Record<string, unknown> {
  return {
    t: 'hello',
    boot,
    seq,
    node: 'n1',
    region: 'SIN',
    cluster: 'c'.repeat(32),
    version: '0.1.0',
    subject: 'ann',
    scopes: ['read', 'launch'],
    expires_ms: 1e12,
    pace_ms: 16,
  }
}

export function regionRow(index: number, code: string, machines = 1, staleMs = 0): unknown[] {
  return [index, code, 'City', 'Land', 'operational', 1.5, -2.5, machines, 0, 8, 4, 800, 400, staleMs]
}

export function changeRow(slice: string, seq: number): unknown[] {
  return [slice, seq, 'vm_started', 1000 + seq, '000000000001', 'web', 'm1', 'SIN', 2, 1000]
}
