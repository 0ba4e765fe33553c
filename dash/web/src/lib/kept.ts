/*
 * kept - small choices of this person in this browser. Never a token. A browser that keeps nothing
 * (private mode, storage off) is fine: the choice then ends with the page.
 */
const PREFIX = 'flylight.'

export function kept(name: string): string | null {
  try {
    return window.localStorage.getItem(PREFIX + name)
  } catch {
    return null
  }
}

export function keep(name: string, value: string | null): void {
  try {
    if (value === null) {
      window.localStorage.removeItem(PREFIX + name)
    } else {
      window.localStorage.setItem(PREFIX + name, value)
    }
  } catch {
    // nothing is lost but the memory of it
  }
}
