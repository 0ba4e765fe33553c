/*
 * session - signing in and out. The token goes once to the server in a body, is kept nowhere here,
 * and the server answers with a cookie that no script can read.
 */
import { live } from './live.svelte'
import { signIn, signOut } from './api'

export async function enter(token: string): Promise<void> {
  await signIn(token)
  live.restart()
}

export async function leave(): Promise<void> {
  // the socket first: else the server closes it too, and a browser complains of two closings
  live.pause()
  try {
    await signOut()
  } finally {
    live.restart()
  }
}
