// openid-client against the demo: each flow for a DPoP client, a client with certificate-bound tokens, and one of signed
// requests and responses.
import * as openid from 'openid-client'
import { approve, client, demand, end, fetchAs, key, skipped, step, told } from './common.mjs'

const issuer = new URL(told.issuer)

for (const id of ['suite-dpop-2', 'suite-mtls-2', 'suite-message-signing-1']) {
  const registered = client(id)
  const byKey = registered.token_endpoint_auth_method === 'private_key_jwt'
  const signing = await key(registered)
  const config = await step(`${id}: discovery`, () =>
    openid.discovery(
      issuer,
      id,
      { use_mtls_endpoint_aliases: Boolean(registered.certificate_file) },
      byKey ? openid.PrivateKeyJwt(signing) : openid.TlsClientAuth(),
      { [openid.customFetch]: fetchAs(registered) },
    ),
  )
  const algorithm = config.serverMetadata().id_token_signing_alg_values_supported[0]
  config.clientMetadata().id_token_signed_response_alg = algorithm
  config.clientMetadata().authorization_signed_response_alg = algorithm
  const bound = registered.sender_constraint === 'dpop'
  if (bound && !config.serverMetadata().dpop_signing_alg_values_supported) {
    skipped(id, 'the server offers no DPoP')
    continue
  }
  const dpop = bound ? { DPoP: openid.getDPoPHandle(config, await openid.randomDPoPKeyPair('ES256')) } : undefined
  const api = new URL(registered.certificate_file ? told.apis[0].mtls_url : told.apis[0].url)
  const call = async (token) => {
    const response = await openid.fetchProtectedResource(config, token, api, 'GET', undefined, undefined, dpop)
    demand(response.status === 200, `the API answered ${response.status}`)
  }
  await step(`${id}: client credentials, API call, introspection, revocation`, async () => {
    const { access_token } = await openid.clientCredentialsGrant(config, { scope: 'accounts' }, dpop)
    await call(access_token)
    demand((await openid.tokenIntrospection(config, access_token)).active, 'a fresh token is not active')
    await openid.tokenRevocation(config, access_token)
    demand(!(await openid.tokenIntrospection(config, access_token)).active, 'a revoked token is active')
  })

  const signed = registered.kind === 'message_signing'
  const verifier = openid.randomPKCECodeVerifier()
  const [state, nonce] = [openid.randomState(), openid.randomNonce()]
  const parameters = {
    redirect_uri: registered.redirect_uris[0], scope: 'openid accounts', state, nonce,
    code_challenge: await openid.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
  }
  if (signed) openid.useJwtResponseMode(config)
  const url = await step(`${id}: pushed authorization request${signed ? ', signed' : ''}`, async () => {
    if (!signed) return openid.buildAuthorizationUrlWithPAR(config, parameters, dpop)
    const now = Math.floor(Date.now() / 1000)
    const object = await openid.buildAuthorizationUrlWithJAR(config, parameters, signing, {
      [openid.modifyAssertion]: (header, claims) => {
        header.typ = 'oauth-authz-req+jwt'
        claims.nbf = now
        claims.exp = now + 300
      },
    })
    return openid.buildAuthorizationUrlWithPAR(config, object.searchParams, dpop)
  })
  if (!told.users?.length) {
    skipped(`${id}: authorization code`, 'there are no users who could sign in')
    continue
  }
  await step(`${id}: code, ID token, API call, refresh`, async () => {
    const landed = await approve(url)
    const result = await openid.authorizationCodeGrant(
      config, landed, { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true },
      undefined, dpop,
    )
    await call(result.access_token)
    const { sub } = result.claims()
    if (config.serverMetadata().userinfo_endpoint) await openid.fetchUserInfo(config, result.access_token, sub, dpop)
    const fresh = await openid.refreshTokenGrant(config, result.refresh_token, undefined, dpop)
    await call(fresh.access_token)
  })
}

const ciba = told.clients.filter((client) => client.kind === 'ciba')
if (ciba.length === 0) skipped('CIBA', 'the server does not offer it')
for (const registered of ciba) {
  const id = registered.client_id
  await step(`${id}: decoupled approval`, async () => {
    const byKey = registered.token_endpoint_auth_method === 'private_key_jwt'
    const config = await openid.discovery(
      issuer, id, { use_mtls_endpoint_aliases: Boolean(registered.certificate_file) },
      byKey ? openid.PrivateKeyJwt(await key(registered)) : openid.TlsClientAuth(),
      { [openid.customFetch]: fetchAs(registered) },
    )
    config.clientMetadata().id_token_signed_response_alg = config.serverMetadata().id_token_signing_alg_values_supported[0]
    const dpop = registered.sender_constraint === 'dpop' ? { DPoP: openid.getDPoPHandle(config, await openid.randomDPoPKeyPair('ES256')) } : undefined
    const asked = await openid.initiateBackchannelAuthentication(config, {
      scope: 'openid accounts', login_hint: told.users[0].username, binding_message: 'TEST 1234',
    })
    const device = new URL(told.authentication_device.url)
    const decided = await fetchAs(null)(device, {
      method: 'POST', body: new URLSearchParams({ auth_req_id: asked.auth_req_id, action: 'approve' }),
    })
    demand(decided.status < 400, `the device answered ${decided.status}`)
    const result = await openid.pollBackchannelAuthenticationGrant(config, asked, undefined, dpop)
    demand(result.access_token && result.id_token, 'no tokens')
  })
}
end()
