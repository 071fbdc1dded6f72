// oauth4webapi against the demo: each flow for a DPoP client and for a client with certificate-bound tokens.
import * as oauth from 'oauth4webapi'
import { approve, client, demand, end, fetchAs, key, skipped, step, told } from './common.mjs'

const issuer = new URL(told.issuer)
const scope = 'openid accounts'

for (const id of ['suite-dpop-1', 'suite-mtls-1', 'suite-jwt-mtls']) {
  const registered = client(id)
  const options = { [oauth.customFetch]: fetchAs(registered) }
  const as = await step(`${id}: discovery`, async () => {
    const response = await oauth.discoveryRequest(issuer, { ...options, algorithm: 'oidc' })
    return oauth.processDiscoveryResponse(issuer, response)
  })
  const self = {
    client_id: id,
    use_mtls_endpoint_aliases: Boolean(registered.certificate_file),
    id_token_signed_response_alg: as.id_token_signing_alg_values_supported[0],
  }
  const byKey = registered.token_endpoint_auth_method === 'private_key_jwt'
  const proof = byKey ? oauth.PrivateKeyJwt(await key(registered)) : oauth.TlsClientAuth()
  const dpopKeys = await oauth.generateKeyPair('ES256')
  const dpop = registered.sender_constraint === 'dpop' ? { DPoP: oauth.DPoP(self, dpopKeys) } : {}
  if (dpop.DPoP && !as.dpop_signing_alg_values_supported) {
    skipped(id, 'the server offers no DPoP')
    continue
  }
  const api = new URL(registered.certificate_file ? told.apis[0].mtls_url : told.apis[0].url)
  const call = async (token) => {
    const response = await oauth.protectedResourceRequest(token, 'GET', api, undefined, undefined, { ...options, ...dpop })
    demand(response.status === 200, `the API answered ${response.status}: ${await response.text()}`)
  }

  await step(`${id}: client credentials and an API call`, async () => {
    const response = await oauth.clientCredentialsGrantRequest(as, self, proof, { scope: 'accounts' }, { ...options, ...dpop })
    const result = await oauth.processClientCredentialsResponse(as, self, response)
    await call(result.access_token)
    return result.token_type
  })

  await step(`${id}: introspection and revocation of its own token`, async () => {
    const response = await oauth.clientCredentialsGrantRequest(as, self, proof, { scope: 'accounts' }, { ...options, ...dpop })
    const { access_token } = await oauth.processClientCredentialsResponse(as, self, response)
    const ask = async () =>
      oauth.processIntrospectionResponse(as, self, await oauth.introspectionRequest(as, self, proof, access_token, options))
    demand((await ask()).active, 'a fresh token is not active')
    await oauth.processRevocationResponse(await oauth.revocationRequest(as, self, proof, access_token, options))
    demand(!(await ask()).active, 'a revoked token is active')
  })

  const verifier = oauth.generateRandomCodeVerifier()
  const [state, nonce] = [oauth.generateRandomState(), oauth.generateRandomNonce()]
  const [redirect_uri] = registered.redirect_uris
  const pushed = await step(`${id}: pushed authorization request`, async () => {
    const parameters = {
      response_type: 'code', redirect_uri, scope, state, nonce,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
    }
    const response = await oauth.pushedAuthorizationRequest(as, self, proof, parameters, { ...options, ...dpop })
    return oauth.processPushedAuthorizationResponse(as, self, response)
  })
  if (!told.users?.length) {
    skipped(`${id}: authorization code`, 'there are no users who could sign in')
    continue
  }
  await step(`${id}: code, ID token, userinfo, API call, refresh`, async () => {
    const url = new URL(as.authorization_endpoint)
    url.searchParams.set('client_id', id)
    url.searchParams.set('request_uri', pushed.request_uri)
    const parameters = oauth.validateAuthResponse(as, self, await approve(url), state)
    const response = await oauth.authorizationCodeGrantRequest(as, self, proof, parameters, redirect_uri, verifier, { ...options, ...dpop })
    const result = await oauth.processAuthorizationCodeResponse(as, self, response, { expectedNonce: nonce, requireIdToken: true })
    await oauth.validateApplicationLevelSignature(as, response, options)
    await call(result.access_token)
    if (as.userinfo_endpoint) {
      const { sub } = oauth.getValidatedIdTokenClaims(result)
      const answer = await oauth.userInfoRequest(as, self, result.access_token, { ...options, ...dpop })
      await oauth.processUserInfoResponse(as, self, sub, answer)
    }
    for (let turn = 0; turn < 2; turn++) {
      const again = await oauth.refreshTokenGrantRequest(as, self, proof, result.refresh_token, { ...options, ...dpop })
      const fresh = await oauth.processRefreshTokenResponse(as, self, again)
      await call(fresh.access_token)
    }
    return result.scope
  })
}
end()
