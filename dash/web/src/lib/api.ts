/*
 * api - what the page asks of its own dash over HTTP (docs/DASH.md). Only same-origin requests with
 * the session's cookie; every failure becomes one ApiError with the server's own words.
 */
import type { Vm, Who } from '../core/types'

export class ApiError extends Error {
  readonly status: number
  readonly code: string
  readonly hint: string
  readonly retryable: boolean
  /** Seconds that the server asks us to wait; 0: it said nothing. */
  readonly retryAfterS: number

  constructor(status: number, code: string, message: string, hint: string, retryable: boolean, retryAfterS: number) {
    super(message)
    this.name = 'ApiError'
    this.status = status
    this.code = code
    this.hint = hint
    this.retryable = retryable
    this.retryAfterS = retryAfterS
  }
}

type Json = Record<string, unknown>

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
function text(from: Json, name: string): string {
  const value = from[name]
  return typeof value === 'string' ? value : ''
}
function number(from: Json, name: string): number {
  const value = from[name]
  return typeof value === 'number' && Number.isFinite(value) ? value : 0
}
function time(from: Json, name: string): number {
  const value = from[name]
  if (typeof value === 'number') {
    return value
  }
  const ms = typeof value === 'string' && value !== '' ? Date.parse(value) : NaN
  return Number.isNaN(ms) ? 0 : ms
}

async function ask(method: string, path: string, body?: Json, headers?: Record<string, string>): Promise<Json> {
  let response: Response
  try {
    response = await fetch(path, {
      method,
      credentials: 'same-origin',
      cache: 'no-store',
      headers: { ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  } catch {
    throw new ApiError(0, 'NO_ANSWER', 'The dashboard did not answer.', 'Is the node running, and the network there?', true, 0)
  }
  let json: unknown = null
  try {
    const read = await response.text()
    json = read === '' ? {} : JSON.parse(read)
  } catch {
    json = null
  }
  if (response.ok) {
    if (!isObject(json)) {
      throw new ApiError(response.status, 'NO_JSON', 'The answer was cut short or is not JSON.', '', true, 0)
    }
    return json
  }
  const error = isObject(json) && isObject(json['error']) ? json['error'] : {}
  const after = Number(response.headers.get('Retry-After') ?? '0')
  throw new ApiError(
    response.status,
    text(error, 'code') || `HTTP_${response.status}`,
    text(error, 'message') || `The dashboard answered ${response.status} ${response.statusText}.`,
    text(error, 'hint'),
    error['retryable'] === true,
    Number.isFinite(after) ? after : 0,
  )
}

export async function signIn(token: string): Promise<Who> {
  const answer = await ask('POST', '/v1/session', { token })
  const scopes = Array.isArray(answer['scopes']) ? answer['scopes'] : []
  return {
    subject: text(answer, 'subject'),
    scopes: scopes.filter((one): one is string => typeof one === 'string'),
    expiresMs: time(answer, 'expires') || time(answer, 'expires_ms'),
  }
}

export async function signOut(): Promise<void> {
  await ask('DELETE', '/v1/session')
}

export function vmOf(from: Json): Vm {
  return {
    id: text(from, 'id'),
    name: text(from, 'name'),
    region: text(from, 'region'),
    machine: text(from, 'machine'),
    cores: number(from, 'cores'),
    memory: number(from, 'memory'),
    state: text(from, 'state'),
    slice: text(from, 'slice'),
    createdMs: time(from, 'created'),
    destroyedMs: time(from, 'destroyed'),
    subject: text(from, 'subject'),
  }
}

export interface VmPage {
  readonly vms: Vm[]
  readonly unreachable: string[]
  readonly more: boolean
}

/** All VMs that are not destroyed, up to `max`. */
export async function listVms(max: number): Promise<VmPage> {
  const vms: Vm[] = []
  const unreachable = new Set<string>()
  let after = ''
  for (;;) {
    const answer = await ask('GET', `/v1/vms?limit=500${after === '' ? '' : `&after=${encodeURIComponent(after)}`}`)
    const page = Array.isArray(answer['vms']) ? answer['vms'] : []
    for (const one of page) {
      if (isObject(one)) {
        vms.push(vmOf(one))
      }
    }
    const gone = Array.isArray(answer['unreachable']) ? answer['unreachable'] : []
    for (const one of gone) {
      unreachable.add(String(one))
    }
    const next = answer['next']
    const more = (typeof next === 'string' && next !== '') || (typeof next === 'number' && next > 0)
    if (!more || vms.length >= max) {
      return { vms, unreachable: [...unreachable], more }
    }
    after = String(next)
  }
}

export async function oneVm(id: string): Promise<Vm> {
  const answer = await ask('GET', `/v1/vms/${encodeURIComponent(id)}`)
  return vmOf(isObject(answer['vm']) ? answer['vm'] : answer)
}

export interface Launched {
  readonly vm: Vm
  readonly key: string
  readonly replayed: boolean
  readonly tries: number
  readonly elapsedMs: number
}

/** The same key again never makes a second VM. */
export async function launchVm(spec: { region: string; cores: number; memory: number }, key: string): Promise<Launched> {
  const answer = await ask('POST', '/v1/vms', spec, { 'Idempotency-Key': key })
  return {
    vm: vmOf(isObject(answer['vm']) ? answer['vm'] : {}),
    key: text(answer, 'key') || key,
    replayed: answer['replayed'] === true,
    tries: number(answer, 'tries'),
    elapsedMs: number(answer, 'elapsed_ms'),
  }
}

export async function destroyVm(id: string): Promise<Vm> {
  const answer = await ask('DELETE', `/v1/vms/${encodeURIComponent(id)}`)
  return vmOf(isObject(answer['vm']) ? answer['vm'] : {})
}

export interface Limits {
  readonly perMinute: number
  /** Launches left in this minute for this address. */
  readonly left: number
  /** VMs in the whole cluster that launches through this dash may reach; 0: no limit. */
  readonly vmsMax: number
  readonly cooldownSuccessMs: number
  readonly cooldownFailureMs: number
}

export async function limits(): Promise<Limits> {
  const answer = await ask('GET', '/v1/limits')
  return {
    perMinute: number(answer, 'launches_per_minute'),
    left: number(answer, 'launches_left'),
    vmsMax: number(answer, 'vms_max'),
    cooldownSuccessMs: number(answer, 'cooldown_success_ms'),
    cooldownFailureMs: number(answer, 'cooldown_failure_ms'),
  }
}

/** 128 random bits. Not crypto.randomUUID: a page over plain http on a LAN does not have it. */
export function mintKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return 'page-' + Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
