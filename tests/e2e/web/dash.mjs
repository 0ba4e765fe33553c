/*
 * dash - what a person does with the dashboard of a real node, with nothing but the keyboard; and
 * that no page complained or asked anybody else for anything. DASH_WATCH is what a `flyrpc watch
 * --json` beside this writes.
 */
import { readFileSync } from 'node:fs'
import { axe, browser, check, page, signIn, token, url, WAIT_MS } from './lib.mjs'

const began = performance.now()
let now = ''
function step(words) {
  now = words
  console.log(`${((performance.now() - began) / 1000).toFixed(1)} s: ${words}`)
}

/** Tab until what has the focus matches: everything must be in the way of the Tab key. */
async function tabTo(one, selector, most = 120) {
  for (let i = 0; i < most; i++) {
    if (await one.evaluate((what) => document.activeElement?.matches(what) ?? false, selector)) {
      return
    }
    await one.keyboard.press('Tab')
  }
  throw new Error(`Tab does not come to ${selector}`)
}

async function until(words, condition) {
  const limit = performance.now() + WAIT_MS
  while (!(await condition())) {
    check(performance.now() < limit, `waited in vain: ${words}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

function watched() {
  return readFileSync(process.env.DASH_WATCH, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
}
function sawEvent(type, vm) {
  return watched().some((event) => JSON.stringify(event).toLowerCase().includes(vm) && String(event.type).toLowerCase().includes(type))
}

const chrome = await browser()
try {
  const one = await page(chrome, { scheme: 'dark', zone: 'Asia/Singapore' })

  step('a token that is none is refused with the reason')
  await one.goto(url)
  await one.locator('#token').waitFor()
  await one.keyboard.insertText('v4.public.nonsense')
  await one.keyboard.press('Enter')
  await one.locator('#token-error').waitFor()
  check((await one.locator('#token-error').innerText()).length > 10, 'no words about the token')

  step('sign in')
  await signIn(one)
  check(!(await one.evaluate(() => location.href)).includes('v4.'), 'a token stands in the address')
  const kept = await one.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie)
  check(!kept.includes(token.slice(10, 40)) && !kept.includes('flylight='), 'a script can read who is signed in')

  step('select a region')
  await one.keyboard.press('/')
  await one.keyboard.insertText('singap')
  await one.keyboard.press('Tab')
  await one.keyboard.press('Enter')
  check(new URL(one.url()).searchParams.get('region') === 'SIN', 'the selection is not in the address')
  await one.locator('[data-machine="sin-01"]').waitFor()

  // a second page looks on and is not touched
  const other = await one.context().newPage()
  await other.goto(`${url}/?region=SIN`)
  await other.locator('[data-machine="sin-01"]').waitFor()
  await other.evaluate(() => document.querySelector('[data-region="SIN"]').focus())
  const free = () => other.locator('[data-cores-free]').getAttribute('data-cores-free').then(Number)
  const cards = () => other.locator('[data-machine] [data-free]').evaluateAll((all) => all.map((card) => Number(card.dataset.free)).reduce((a, b) => a + b, 0))
  const hash = () => other.evaluate(() => window.flylight.hash())
  const [freeBefore, cardsBefore, hashBefore] = [await free(), await cards(), await hash()]

  step('launch near me')
  await one.bringToFront()
  await one.keyboard.press('4')
  await one.locator('[data-launch]:enabled').waitFor()
  await tabTo(one, '[data-launch]')
  await one.keyboard.press('Enter')
  await one.waitForURL(/\/vm\/[0-9a-z]{12}$/)
  await one.locator('[data-state="started"]').waitFor()
  const vm = one.url().slice(-12)

  step(`cell and card change with no touch: ${vm}`)
  await until('the region’s sum', async () => (await free()) === freeBefore - 1)
  await until('a card', async () => (await cards()) === cardsBefore - 1)
  check((await hash()) !== hashBefore, 'no cell changed')
  check(
    await other.evaluate(() => document.activeElement?.getAttribute('data-region') === 'SIN' && location.search === '?region=SIN'),
    'an update moved the focus or the selection',
  )
  await until('flyrpc watch to tell of the launch', async () => sawEvent('vm_started', vm))

  step('the same VM in events, by its key')
  await one.keyboard.press('g')
  await one.keyboard.press('v')
  await one.locator(`a[href="/vm/${vm}"]`).first().waitFor()

  step('the cooldown shows; the table is live')
  await one.keyboard.press('4')
  await one.locator(`[data-vm="${vm}"]`).waitFor()
  check(await one.locator('[data-launch]').isDisabled(), 'no cooldown')
  const launched = await other.evaluate(async () => {
    const answer = await fetch('/v1/vms', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ region: 'DEN', cores: 2, memory: 2e9 }),
    })
    return (await answer.json()).vm.id
  })
  await one.locator(`[data-vm="${launched}"]`).waitFor()
  const anew = await one.context().newPage()
  await anew.goto(`${url}/launch`) // a list that is counted is a list that is whole
  await anew.locator('#vms-title .numbers').first().waitFor({ timeout: WAIT_MS })
  await anew.close()

  step('destroy from the table')
  await one.keyboard.press('/')
  await one.keyboard.insertText(launched)
  await until('the filter', async () => (await one.locator('[data-vm]').count()) === 1)
  await tabTo(one, `[data-vm="${launched}"] button`)
  await one.keyboard.press('Enter')
  await one.locator('dialog[open]').waitFor()
  await tabTo(one, 'dialog .danger')
  await one.keyboard.press('Enter')
  await one.locator(`[data-vm="${launched}"]`).waitFor({ state: 'detached' })

  step('destroy from its page')
  await one.goto(`${url}/vm/${vm}`)
  await one.locator('[data-state="started"]').waitFor()
  await tabTo(one, '.facts .danger')
  await one.keyboard.press('Enter')
  await tabTo(one, 'dialog .danger')
  await one.keyboard.press('Enter')
  await one.locator('[data-state="destroyed"]').waitFor()
  await until('the region’s sum to be whole again', async () => (await free()) === freeBefore)
  await until('the cells as they were', async () => (await hash()) === hashBefore)
  await until('flyrpc watch to tell of the end', async () => sawEvent('vm_destroyed', vm))

  step('every view by its number, and axe on each, dark and light')
  const titles = ['Regions and machines', 'Fleet', 'World map', 'Launch', 'Members', 'Events']
  const findings = []
  for (const [i, title] of titles.entries()) {
    await one.keyboard.press(String(i + 1))
    await one.locator('main h1', { hasText: title }).waitFor()
    await until('the heading to have the focus', () => one.evaluate(() => document.activeElement?.tagName === 'H1' || document.activeElement?.closest('main') !== null))
    for (const scheme of ['dark', 'light']) {
      await one.emulateMedia({ colorScheme: scheme })
      findings.push(...(await axe(one)).serious.map((one) => `${title} ${scheme}: ${one.id} ${one.nodes.join(' ')}`))
    }
  }
  check(findings.length === 0, findings.join('\n'))

  step('help opens, and Escape closes it')
  await one.keyboard.press('?')
  await one.locator('dialog[open]').waitFor()
  await one.keyboard.press('Escape')
  await one.locator('dialog[open]').waitFor({ state: 'hidden' })

  step('the map is a list for the keyboard')
  await one.keyboard.press('3')
  await one.locator('.list button').first().waitFor()
  await tabTo(one, '.list button')
  await one.keyboard.press('End')
  await one.keyboard.press('Enter')
  check(new URL(one.url()).searchParams.get('region') !== null, 'Enter selects no region')

  step('sign out, and in again with less')
  await tabTo(one, '.who > button')
  await one.keyboard.press('Enter')
  await tabTo(one, '.who .buttons button:last-child')
  await one.keyboard.press('Enter')
  await one.locator('#token').waitFor()
  await signIn(one, process.env.DASH_READ_TOKEN)
  await one.keyboard.press('4')
  await one.locator('[data-launch]').waitFor()
  check(await one.locator('[data-launch]').isDisabled(), 'one who may not launch has a button')
  check((await one.locator('#launch-says').innerText()).includes('scope "launch"'), 'no reason is given')

  for (const each of [one, other]) {
    check((each.wrong ?? []).length === 0, `the page complained: ${(each.wrong ?? []).join('; ')}`)
    check((each.outside ?? []).length === 0, `requests to others: ${(each.outside ?? []).join(' ')}`)
  }
  step('done')
} catch (error) {
  console.error(`while: ${now}\n${error.stack}`)
  process.exitCode = 1
} finally {
  await chrome.close()
}
