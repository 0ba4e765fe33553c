/*
 * keys - the keyboard of the whole page. Nothing of it acts while somebody types into a field or a
 * dialog is open; keys with Ctrl, Alt or Meta belong to the browser.
 */
import { PLACES, route } from './route.svelte'
import { theme } from './theme.svelte'

export interface Shortcut {
  readonly keys: string
  readonly does: string
}

export const SHORTCUTS: readonly { readonly part: string; readonly all: readonly Shortcut[] }[] = [
  {
    part: 'Everywhere',
    all: [
      { keys: '1 to 6', does: 'Regions, Fleet, Map, Launch, Members, Events' },
      { keys: 'g then r f m l e v', does: 'Go to regions, fleet, map, launch, members (e), events (v)' },
      { keys: '/', does: 'Filter what this view shows' },
      { keys: 'Esc', does: 'Leave the filter, close the dialog' },
      { keys: 't', does: 'Theme: automatic, light, dark' },
      { keys: 'c', does: 'Palette: standard, for colour-blind eyes' },
      { keys: '?', does: 'This list' },
    ],
  },
  {
    part: 'Regions, map',
    all: [
      { keys: '↑ ↓', does: 'The next and the previous region; Home and End too' },
      { keys: 'Enter', does: 'Select it' },
    ],
  },
  {
    part: 'Fleet',
    all: [
      { keys: '← ↑ → ↓', does: 'Move the cursor over the machines, once the fleet has the focus' },
      { keys: 'Tab', does: 'From the fleet to its table and on' },
    ],
  },
  {
    part: 'Launch',
    all: [
      { keys: 'l', does: 'Launch near me' },
      { keys: 'Tab, Enter', does: 'To a button of the table, and press it' },
    ],
  },
  { part: 'Events', all: [{ keys: 'p', does: 'Pause and go on' }] },
]

const GO: Readonly<Record<string, string>> = {
  r: '/',
  f: '/fleet',
  m: '/map',
  l: '/launch',
  e: '/members',
  v: '/events',
}

const AFTER_G_MS = 1500

export interface KeyActions {
  readonly help: () => void
}

/** The views' own keys, while they are shown: letter to action. */
export const viewKeys = new Map<string, () => void>()

function typing(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || target.closest('input, textarea, select, [role="grid"], [role="application"]') !== null)
  )
}

export function listen(actions: KeyActions): () => void {
  let goUntil = 0
  function onkeydown(event: KeyboardEvent): void {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.repeat) {
      return
    }
    if (event.key === 'Escape' && event.target instanceof HTMLInputElement && 'filter' in event.target.dataset) {
      event.target.blur()
      return
    }
    if (typing(event.target) && !(event.target instanceof HTMLElement && event.target.closest('[role="grid"]') !== null && /^[1-6?/gtc]$/.test(event.key))) {
      return
    }
    if (document.querySelector('dialog[open]') !== null || document.querySelector('[data-signin]') !== null) {
      return
    }
    const going = event.timeStamp < goUntil
    goUntil = 0
    const place = going ? GO[event.key] : PLACES[Number(event.key) - 1]?.path
    if (place !== undefined) {
      event.preventDefault()
      route.go(place)
      return
    }
    if (going) {
      return
    }
    const own = viewKeys.get(event.key)
    if (own !== undefined) {
      event.preventDefault()
      own()
      return
    }
    switch (event.key) {
      case 'g':
        goUntil = event.timeStamp + AFTER_G_MS
        break
      case '/': {
        const filter = document.querySelector<HTMLElement>('[data-filter]')
        if (filter !== null) {
          event.preventDefault()
          filter.focus()
        }
        break
      }
      case '?':
        event.preventDefault()
        actions.help()
        break
      case 't':
        theme.next()
        break
      case 'c':
        theme.choosePalette(theme.palette === 'safe' ? 'standard' : 'safe')
        break
      default:
    }
  }
  window.addEventListener('keydown', onkeydown)
  return () => window.removeEventListener('keydown', onkeydown)
}

/** Up, down, home, end over the focusable items of a list; the rest of the keys go on. */
export function rove(event: KeyboardEvent, list: HTMLElement, selector: string): void {
  const all = [...list.querySelectorAll<HTMLElement>(selector)]
  const at = all.findIndex((one) => one === document.activeElement)
  const to =
    event.key === 'ArrowDown'
      ? Math.min(at + 1, all.length - 1)
      : event.key === 'ArrowUp'
        ? Math.max(at - 1, 0)
        : event.key === 'Home'
          ? 0
          : event.key === 'End'
            ? all.length - 1
            : -1
  if (to >= 0) {
    event.preventDefault()
    all[to]?.focus()
  }
}
