/*
 * format - numbers, sizes and times in words. Sizes are decimal, as everywhere in Flylight.
 */
const plain = new Intl.NumberFormat('en')

export function count(value: number): string {
  return plain.format(value)
}

/** 2 TB, 6 GB, 1.5 GB. */
export function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB']
  let unit = 0
  let rest = value
  while (rest >= 999.95 && unit < units.length - 1) {
    rest /= 1000
    unit++
  }
  // floor: what is free is never said to be more than it is
  const digits = rest < 10 && rest % 1 !== 0 ? 2 : rest < 100 && rest % 1 !== 0 ? 1 : 0
  const scale = 10 ** digits
  return `${Math.floor(rest * scale + 1e-9) / scale} ${units[unit]}`
}

/** To a width in digits (`points`: one may be a point), with spaces as wide as a digit and as a point:
 * what stands beside it does not move. */
export function pad(text: string, width: number, points = false): string {
  const padded = text.padStart(width, '\u2007')
  return points && !text.includes('.') && padded.length > text.length ? `\u2008${padded.slice(1)}` : padded
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`
}

/** 4 s, 3 min, 5 h, 2 d. */
export function age(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000))
  if (s < 60) {
    return `${s} s`
  }
  if (s < 3600) {
    return `${Math.floor(s / 60)} min`
  }
  if (s < 48 * 3600) {
    return `${Math.floor(s / 3600)} h`
  }
  return `${Math.floor(s / 86400)} d`
}

export function rtt(us: number): string {
  if (us <= 0) {
    return '–'
  }
  return us < 1000 ? `${us} µs` : `${(us / 1000).toFixed(us < 10000 ? 2 : 1)} ms`
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })

/** 14:03:09.214 of this browser's zone. */
export function clockMs(ms: number): string {
  if (ms <= 0) {
    return '–'
  }
  return `${clock.format(ms)}.${String(Math.floor(ms) % 1000).padStart(3, '0')}`
}

/** RFC 3339 in UTC with milliseconds. */
export function stamp(ms: number): string {
  return ms > 0 ? new Date(ms).toISOString() : '–'
}
