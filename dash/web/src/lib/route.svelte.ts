/*
 * route - which view the address names. Paths without a dot are all index.html to the server, so
 * every view can be linked, reloaded and gone back to. What a view has selected or filtered stands
 * in the query. A token never does.
 */
export type View =
  | 'regions'
  | 'fleet'
  | 'map'
  | 'launch'
  | 'members'
  | 'events'
  | 'vm'
  | 'missing'

export interface Place {
  readonly view: View
  readonly path: string
  readonly title: string
  readonly short: string
}

/** In the order of the keys 1 to 6. */
export const PLACES: readonly Place[] = [
  { view: 'regions', path: '/', title: 'Regions and machines', short: 'Regions' },
  { view: 'fleet', path: '/fleet', title: 'Fleet', short: 'Fleet' },
  { view: 'map', path: '/map', title: 'World map', short: 'Map' },
  { view: 'launch', path: '/launch', title: 'Launch', short: 'Launch' },
  { view: 'members', path: '/members', title: 'Members', short: 'Members' },
  { view: 'events', path: '/events', title: 'Events', short: 'Events' },
]

export function parse(path: string): { view: View; id: string } {
  const vm = /^\/vm\/([0-9A-Za-z-]{1,64})$/.exec(path)
  if (vm?.[1] !== undefined) {
    return { view: 'vm', id: vm[1] }
  }
  const trimmed = path.length > 1 ? path.replace(/\/+$/, '') : path
  return { view: PLACES.find((place) => place.path === trimmed)?.view ?? 'missing', id: '' }
}

class Route {
  view = $state<View>('regions')
  /** Of /vm/ID. */
  id = $state('')
  query = $state.raw(new URLSearchParams())
  /** Counts navigations to another path: the shell then moves the focus to the heading. */
  moves = $state(0)

  constructor() {
    this.#read()
    window.addEventListener('popstate', () => {
      this.#read()
      this.moves++
    })
  }

  #read(): void {
    const { view, id } = parse(window.location.pathname)
    this.view = view
    this.id = id
    this.query = new URLSearchParams(window.location.search)
  }

  go(to: string): void {
    window.history.pushState(null, '', to)
    this.#read()
    this.moves++
    window.scrollTo(0, 0)
  }

  get(name: string): string {
    return this.query.get(name) ?? ''
  }

  /** Changes one word of the query in place: "" takes it away. No new step in the history. */
  set(name: string, value: string): void {
    const query = new URLSearchParams(this.query)
    if (value === '') {
      query.delete(name)
    } else {
      query.set(name, value)
    }
    const text = query.toString()
    window.history.replaceState(null, '', window.location.pathname + (text === '' ? '' : `?${text}`))
    this.query = query
  }

  /** For clicks on links of our own: they change the view and not the page. */
  onclick(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0) {
      return
    }
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) {
      return
    }
    const link = event.target instanceof Element ? event.target.closest('a') : null
    const href = link?.getAttribute('href')
    if (link === null || !href?.startsWith('/') || href.startsWith('//') || link.target !== '') {
      return
    }
    event.preventDefault()
    this.go(href)
  }
}

export const route = new Route()
