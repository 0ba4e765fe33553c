/*
 * main - starts the page: theme before anything is drawn, then the shell, then the live picture.
 */
import { mount } from 'svelte'
import App from './App.svelte'
import { begin } from './lib/history'
import { live } from './lib/live.svelte'
import { theme } from './lib/theme.svelte'
import './styles/base.css'

theme.apply()
const target = document.getElementById('app')
if (target !== null) {
  mount(App, { target })
}
live.start()
begin()
