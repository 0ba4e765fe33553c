/*
 * status - words and shapes for what things are: one place, so that all views say it alike.
 */
import type { Detail, Member, Region } from '../core/types'
import type { Tone } from '../parts/Shape.svelte'

export interface Look {
  readonly tone: Tone
  readonly word: string
}

export function regionLook(region: Region, stale: boolean): Look {
  if (stale) {
    return { tone: 'warn', word: 'stale' }
  }
  switch (region.status) {
    case 'operational':
      return { tone: 'ok', word: 'operational' }
    case 'degraded':
      return { tone: 'warn', word: 'degraded' }
    case 'maintenance':
      return { tone: 'busy', word: 'maintenance' }
    case 'offline':
      return { tone: 'bad', word: 'offline' }
    default:
      return { tone: 'idle', word: region.status === '' ? 'unknown' : region.status }
  }
}

export function machineLook(machine: Detail): Look {
  if (machine.cordoned) {
    return { tone: 'idle', word: 'cordoned' }
  }
  if (machine.coresFree === 0 || machine.memoryFree === 0) {
    return { tone: 'bad', word: 'full' }
  }
  const taken = machine.coresFree < machine.cores || machine.memoryFree < machine.memory
  return taken ? { tone: 'busy', word: 'in use' } : { tone: 'ok', word: 'free' }
}

export function vmLook(state: string): Look {
  switch (state) {
    case 'started':
      return { tone: 'ok', word: 'started' }
    case 'creating':
    case 'stopping':
    case 'destroying':
      return { tone: 'busy', word: state }
    case 'failed':
      return { tone: 'bad', word: 'failed' }
    default:
      return { tone: 'idle', word: state === '' ? 'unknown' : state }
  }
}

export function memberLook(member: Member): Look {
  switch (member.state) {
    case 'alive':
      return member.serving ? { tone: 'ok', word: 'alive' } : { tone: 'busy', word: 'alive, not serving' }
    case 'suspect':
      return { tone: 'warn', word: 'suspect' }
    case 'dead':
      return { tone: 'bad', word: 'dead' }
    default:
      return { tone: 'idle', word: member.state }
  }
}

const CHANGES: Readonly<Record<string, Look>> = {
  vm_started: { tone: 'ok', word: 'VM started' },
  vm_destroyed: { tone: 'bad', word: 'VM destroyed' },
  machine_added: { tone: 'ok', word: 'machine added' },
  machine_resized: { tone: 'busy', word: 'machine resized' },
  machine_removed: { tone: 'bad', word: 'machine removed' },
  machine_cordoned: { tone: 'warn', word: 'machine cordoned' },
  machine_uncordoned: { tone: 'ok', word: 'machine uncordoned' },
}

export function changeLook(type: string): Look {
  return CHANGES[type] ?? { tone: 'idle', word: type.replaceAll('_', ' ') }
}
