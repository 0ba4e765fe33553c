/*
 * launcher - one launch at a time: the button's states, its timer, its cooldowns, and the rule that
 * one click makes at most one VM. Every try of a click carries the same key; an answer that was
 * lost is asked for again with it.
 */
import { ApiError, launchVm, limits, mintKey, type Launched, type Limits } from './api'
import { kept, keep } from './kept'
import { route } from './route.svelte'
import { vms } from './vms.svelte'

export type LaunchState = 'idle' | 'loading' | 'launched' | 'failed'

const TRIES = 4
const TRY_AGAIN_MS = 700

class Launcher {
  state = $state<LaunchState>('idle')
  region = $state('')
  /** What is going on, in words. */
  message = $state('')
  hint = $state('')
  /** Of the click being timed; 0: none. */
  startedAt = $state(0)
  /** The last one's, once it ended. */
  tookMs = $state(0)
  /** performance.now() until which no launch may start. */
  coolUntil = $state(0)
  /** Of the last launch that succeeded. */
  key = $state('')
  limits = $state.raw<Limits | null>(null)
  cores = $state(sizeOf(kept('cores'), 1, 1024, 1))
  memoryGb = $state(sizeOf(kept('memory'), 1, 64000, 1))

  setSize(cores: number, memoryGb: number): void {
    this.cores = sizeOf(String(cores), 1, 1024, this.cores)
    this.memoryGb = sizeOf(String(memoryGb), 1, 64000, this.memoryGb)
    keep('cores', String(this.cores))
    keep('memory', String(this.memoryGb))
  }

  get memory(): number {
    return this.memoryGb * 1e9
  }

  coolMs(now: number): number {
    return Math.max(0, this.coolUntil - now)
  }

  async readLimits(): Promise<void> {
    try {
      this.limits = await limits()
    } catch {
      // shown as unknown; the server holds to them anyway
    }
  }

  async launch(region: string): Promise<void> {
    if (this.state === 'loading' || this.coolMs(performance.now()) > 0) {
      return
    }
    const key = mintKey()
    this.state = 'loading'
    this.region = region
    this.startedAt = performance.now()
    this.tookMs = 0
    this.hint = ''
    this.message = `Asking ${region} for ${this.cores} ${this.cores === 1 ? 'core' : 'cores'} and ${this.memoryGb} GB…`
    try {
      const launched = await this.#persist(region, key)
      this.#ended('launched', launched)
      vms.started(launched.vm)
      route.go(`/vm/${launched.vm.id}`)
    } catch (thrown) {
      const error = thrown instanceof ApiError ? thrown : new ApiError(0, 'ERROR', String(thrown), '', false, 0)
      this.message = error.message
      this.hint = error.hint
      if (error.code === 'OUTCOME_UNKNOWN' || error.status === 0) {
        this.hint = `It may have been launched or not. flyrpc cancel ${key} settles it. ${error.hint}`
      }
      this.#ended('failed', null)
      if (error.retryAfterS > 0) {
        this.coolUntil = Math.max(this.coolUntil, performance.now() + error.retryAfterS * 1000)
      }
    }
    void this.readLimits()
  }

  async #persist(region: string, key: string): Promise<Launched> {
    for (let n = 1; ; n++) {
      try {
        return await launchVm({ region, cores: this.cores, memory: this.memory }, key)
      } catch (thrown) {
        const lost = thrown instanceof ApiError && (thrown.status === 0 || thrown.code === 'OUTCOME_UNKNOWN')
        if (!lost || n >= TRIES) {
          throw thrown
        }
        this.message = 'The answer was lost. Asking again for the same launch…'
        await new Promise((resolve) => window.setTimeout(resolve, TRY_AGAIN_MS * n))
      }
    }
  }

  #ended(state: 'launched' | 'failed', launched: Launched | null): void {
    const now = performance.now()
    this.state = state
    this.tookMs = now - this.startedAt
    this.startedAt = 0
    if (launched !== null) {
      this.key = launched.key
      this.message = `${launched.vm.id} is ${launched.vm.state || 'started'} on ${launched.vm.machine}.`
    }
    const rest = state === 'launched' ? this.limits?.cooldownSuccessMs : this.limits?.cooldownFailureMs
    this.coolUntil = now + (rest ?? (state === 'launched' ? 20000 : 5000))
  }

  /** The cooldown is over: the button asks again. */
  rest(): void {
    if (this.state !== 'loading') {
      this.state = 'idle'
    }
  }
}

function sizeOf(text: string | null, least: number, most: number, otherwise: number): number {
  const value = Number(text ?? '')
  return Number.isInteger(value) && value >= least && value <= most ? value : otherwise
}

export const launcher = new Launcher()
