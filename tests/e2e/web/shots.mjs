/*
 * shots - every view at 1280x900 and 390x844, dark and light, into SHOTS (build/shots), for somebody
 * to look at; and axe-core on each: a serious or critical finding fails.
 */
import { mkdirSync } from 'node:fs'
import { axe, browser, check, page, signIn, url } from './lib.mjs'

const folder = process.env.SHOTS ?? 'build/shots'
const only = process.env.SHOT ?? ''
mkdirSync(folder, { recursive: true })
const sizes = [
  { name: 'wide', width: 1280, height: 900 },
  { name: 'phone', width: 390, height: 844 },
]
const schemes = ['dark', 'light']
const chrome = await browser()
let serious = 0
let looked = 0
try {
  for (const size of sizes) {
    for (const scheme of schemes) {
      const one = await page(chrome, { ...size, scheme, zone: 'Europe/Berlin' })
      async function shot(name) {
        const { serious: bad, minor } = await axe(one)
        looked++
        serious += bad.length
        for (const finding of [...bad, ...minor]) {
          console.log(`${size.name} ${scheme} ${name}: ${finding.impact} ${finding.id}\n  ${finding.nodes.join('\n  ')}`)
        }
        await one.screenshot({ path: `${folder}/${name}-${size.name}-${scheme}.png` })
      }
      await one.goto(url)
      await one.locator('#token').waitFor()
      await shot('signin')
      await signIn(one)
      const vms = await one.evaluate(async () => (await (await fetch('/v1/vms?limit=1')).json()).vms)
      const views = [
        ['regions', '/?region=SIN'],
        ['fleet', '/fleet'],
        ['map', '/map?region=SIN'],
        ['map-europe', '/map?zoom=europe'],
        ['launch', '/launch'],
        ['members', '/members'],
        ['events', '/events'],
        ...(vms.length > 0 ? [['vm', `/vm/${vms[0].id}`]] : []),
        ['missing', '/nowhere'],
      ].filter(([name]) => only === '' || only === name)
      for (const [name, path] of views) {
        await one.goto(url + path)
        await one.locator('[data-link="live"]').waitFor()
        await one.locator('main h1').waitFor()
        await one.waitForTimeout(name === 'vm' ? 2500 : name === 'launch' ? 1500 : 350)
        await shot(name)
      }
      if (only === '') {
        await one.keyboard.press('?')
        await one.locator('dialog[open]').waitFor()
        await shot('help')
        await one.keyboard.press('Escape')
        await one.locator('.who button').first().click()
        await shot('who')
      }
      check(one.wrong.length === 0, `the page complained: ${one.wrong.join('; ')}`)
      check(one.outside.length === 0, `requests to others: ${one.outside.join(' ')}`)
      await one.context().close()
    }
  }
} finally {
  await chrome.close()
}
console.log(`axe looked ${looked} times: ${serious} serious or critical`)
process.exit(serious === 0 ? 0 : 1)
