/*
 * session - signing in and out. The token goes to the server in a body, and the server answers with a
 * cookie that no script can read. Until one signs out or leaves the page it is remembered in a closure,
 * never stored: a dash that was started anew knows no sessions, and the page signs in by itself.
 */
import { fleet, live } from './live.svelte'
import { ApiError, signIn, signOut } from './api'

export async function enter(token: string): Promise<void> {
  await signIn(token)
  fleet.renewBy(async () => {
    try {
      await signIn(token)
      return true
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) {
        return false
      }
      throw error
    }
  })
  live.restart()
}

export async function leave(): Promise<void> {
  fleet.renewBy(null)
  // the socket first: else the server closes it too, and a browser complains of two closings
  live.pause()
  try {
    await signOut()
  } finally {
    live.restart()
  }
}
