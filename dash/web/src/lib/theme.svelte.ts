/*
 * theme - light or dark, and which palette; kept in this browser. `<html data-theme data-palette>`
 * are what the styles and the canvas go by; after a change the window gets 'flylight:theme'.
 */
import { keep, kept } from './kept'

export type ThemeChoice = 'auto' | 'light' | 'dark'
export type PaletteChoice = 'standard' | 'safe'

const dark = window.matchMedia('(prefers-color-scheme: dark)')

class Theme {
  choice = $state<ThemeChoice>(oneOf(kept('theme'), ['auto', 'light', 'dark'], 'auto'))
  palette = $state<PaletteChoice>(oneOf(kept('palette'), ['standard', 'safe'], 'standard'))
  resolved = $state<'light' | 'dark'>('dark')

  constructor() {
    dark.addEventListener('change', () => this.apply())
  }

  choose(choice: ThemeChoice): void {
    this.choice = choice
    keep('theme', choice)
    this.apply()
  }

  next(): void {
    const order: ThemeChoice[] = ['auto', 'light', 'dark']
    this.choose(order[(order.indexOf(this.choice) + 1) % order.length] ?? 'auto')
  }

  choosePalette(palette: PaletteChoice): void {
    this.palette = palette
    keep('palette', palette)
    this.apply()
  }

  apply(): void {
    this.resolved = this.choice === 'auto' ? (dark.matches ? 'dark' : 'light') : this.choice
    const root = document.documentElement
    root.dataset['theme'] = this.resolved
    root.dataset['palette'] = this.palette
    window.dispatchEvent(new CustomEvent('flylight:theme'))
  }
}

function oneOf<T extends string>(value: string | null, all: readonly T[], otherwise: T): T {
  return all.find((one) => one === value) ?? otherwise
}

export const theme = new Theme()
