/*
 * lib - Debian's Chromium on the dashboard of a real node, for the scripts beside it and for
 * tests/bench/dash. playwright-core and axe-core are those of dash/web's lock file.
 *
 * From the environment: DASH_URL, DASH_TOKEN; CHROMIUM (/usr/bin/chromium); FLY_WEB: where they are
 * installed (dash/web).
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const web = process.env.FLY_WEB ?? new URL('../../../dash/web', import.meta.url).pathname
const need = createRequire(`${web}/package.json`)
const { chromium } = need('playwright-core')
const axeSource = readFileSync(need.resolve('axe-core/axe.min.js'), 'utf8')

export const url = process.env.DASH_URL ?? 'http://127.0.0.1:7403'
export const token = process.env.DASH_TOKEN ?? ''
export const WAIT_MS = Number(process.env.DASH_WAIT_MS ?? 15000)

export async function browser(more = []) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', ...more],
  })
}

/** A page that fails the script on an error of its own: an exception, or a refused style or script. */
export async function page(from, { width = 1280, height = 900, scheme = 'dark', motion = 'no-preference', zone } = {}) {
  const context = await from.newContext({
    viewport: { width, height },
    colorScheme: scheme,
    reducedMotion: motion,
    ...(zone === undefined ? {} : { timezoneId: zone }),
  })
  const one = await context.newPage()
  one.setDefaultTimeout(WAIT_MS)
  one.wrong = []
  one.outside = []
  one.on('pageerror', (error) => one.wrong.push(String(error)))
  one.on('console', (message) => {
    // 401 of the first look is how the page learns that nobody is signed in
    if (message.type() === 'error' && !/status of 40[139]|v1.live' failed: HTTP Auth/.test(message.text())) {
      one.wrong.push(message.text())
    }
  })
  one.on('request', (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith(url.replace(/^http/, 'ws'))) {
      one.outside.push(request.url())
    }
  })
  return one
}

/** By the keyboard, as a person does. */
export async function signIn(one, with_ = token) {
  await one.goto(url)
  const field = one.locator('#token')
  await field.waitFor()
  await field.focus()
  await one.keyboard.insertText(with_)
  await one.keyboard.press('Enter')
  await one.locator('[data-link="live"]').waitFor()
}

/** What axe finds that is serious or critical, in words. */
export async function axe(one) {
  // by the debugger's own evaluate: the page's policy allows no foreign script tag
  await one.evaluate(axeSource)
  const found = await one.evaluate(async () => {
    const result = await window.axe.run(document, {
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'],
    })
    return result.violations.map((one) => ({
      id: one.id,
      impact: one.impact,
      nodes: one.nodes.slice(0, 4).map((node) => `${node.target.join(' ')}: ${node.failureSummary.replaceAll('\n', ' ')}`),
    }))
  })
  return {
    serious: found.filter((one) => one.impact === 'serious' || one.impact === 'critical'),
    minor: found.filter((one) => one.impact !== 'serious' && one.impact !== 'critical'),
  }
}

export function check(condition, words) {
  if (!condition) {
    throw new Error(words)
  }
}
