import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vitest/config'

// One page, few requests: the map, the history and what else is not needed for the first cell are
// chunks of their own, loaded later (dynamic import). Names carry a hash of their content.
export default defineConfig({
  plugins: [svelte()],
  base: '/',
  build: {
    target: 'es2022',
    outDir: 'build',
    sourcemap: false,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0, // the content security policy allows no data: urls for scripts
  },
  server: {
    proxy: { '/v1': { target: 'http://127.0.0.1:7403', ws: true, changeOrigin: false } },
  },
  test: { include: ['tests/**/*.test.ts'], environment: 'node', testTimeout: 60_000 },
})
