// What the programs of this folder share: clients.json, HTTP with certificates, a browser that reads forms.
import { readFileSync } from 'node:fs'
import { Agent, fetch as undiciFetch } from 'undici'
import { importJWK } from 'jose'

export const told = JSON.parse(readFileSync(process.argv[2], 'utf8'))

export function client(id) {
  const found = told.clients.find((client) => client.client_id === id)
  if (!found) throw new Error(`clients.json has no ${id}`)
  return found
}

// A fetch that trusts the demo's CA and shows the client's certificate, if it has one.
export function fetchAs(client) {
  const connect = { ca: readFileSync(told.ca_file) }
  if (client?.certificate_file) {
    connect.cert = readFileSync(client.certificate_file)
    connect.key = readFileSync(client.certificate_key_file)
  }
  const dispatcher = new Agent({ connect, keepAliveTimeout: 1000 })
  return (url, options) => undiciFetch(url, { ...options, dispatcher })
}

// The client's private key, as WebCrypto has it.
export async function key(client) {
  const [jwk] = client.private_jwks.keys
  return { key: await importJWK(jwk, jwk.alg), kid: jwk.kid }
}

let failed = false
export async function step(name, work) {
  try {
    const said = await work()
    console.log(`ok      ${name}${said ? `: ${said}` : ''}`)
    return said
  } catch (error) {
    failed = true
    const cause = error.cause ? ` (${JSON.stringify(error.cause, null, 0) ?? error.cause})` : ''
    console.log(`FAILED  ${name}: ${error.stack ?? error}${cause}`)
  }
}
export function skipped(name, why) {
  console.log(`SKIPPED ${name}: ${why}`)
}
export function end() {
  process.exit(failed ? 1 : 0)
}
export function demand(condition, message) {
  if (!condition) throw new Error(message)
}

// The parameters of the first form of a page, with the button that is pressed.
function form(page, action, values) {
  const target = /<form[^>]*\baction="([^"]*)"/.exec(page)?.[1]
  demand(target, `the page has no form: ${page.slice(0, 400)}`)
  const body = new URLSearchParams()
  for (const [tag] of page.matchAll(/<input[^>]*type="hidden"[^>]*>/g)) {
    const attribute = (name) => new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1].replaceAll('&#38;', '&').replaceAll('&amp;', '&')
    body.append(attribute('name'), attribute('value'))
  }
  for (const [name, value] of Object.entries({ ...values, action })) body.append(name, value)
  return { target, body }
}

// Signs in and approves by form posts, with a cookie jar. Returns where the browser is led at last.
export async function approve(authorizationUrl, answer = 'approve') {
  const fetch = fetchAs(null)
  const cookies = new Map()
  const [user] = told.users
  let url = new URL(authorizationUrl)
  let next = { method: 'GET' }
  for (let hop = 0; hop < 12; hop++) {
    const headers = cookies.size ? { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') } : {}
    const response = await fetch(url, { ...next, headers, redirect: 'manual' })
    for (const cookie of response.headers.getSetCookie()) {
      const [name, value] = cookie.split(';')[0].split(/=(.*)/s)
      cookies.set(name, value)
    }
    const location = response.headers.get('location')
    if (location) {
      demand(response.status === 303 || response.status === 302, `a redirect with ${response.status}`)
      url = new URL(location, url)
      if (url.origin !== new URL(told.issuer).origin) return url
      next = { method: 'GET' }
      continue
    }
    const page = await response.text()
    demand(response.status === 200, `${response.status}: ${page.slice(0, 400)}`)
    const signIn = page.includes('name="password"')
    const { target, body } = signIn
      ? form(page, 'sign-in', { username: user.username, password: user.password })
      : form(page, answer, {})
    url = new URL(target, url)
    next = { method: 'POST', body }
  }
  throw new Error('the pages lead nowhere')
}
