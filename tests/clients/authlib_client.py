"""Authlib against the demo: client credentials, PAR, code, refresh, introspection, revocation over mutual TLS.

Authlib signs client assertions and speaks no DPoP, so its clients are those with certificate-bound tokens.
"""

import base64
import hashlib
import json
import re
import secrets
import sys
from urllib.parse import parse_qs, urljoin, urlsplit

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.jose import JsonWebKey, jwt
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import import_key

with open(sys.argv[1]) as file:
    TOLD = json.load(file)
CA = TOLD["ca_file"]
failed = False


def step(name, work):
    global failed
    try:
        said = work()
        print(f"ok      {name}")
        return said
    except Exception as error:  # told, and counted as a failure
        failed = True
        print(f"FAILED  {name}: {error!r}")


def client(client_id):
    return next(c for c in TOLD["clients"] if c["client_id"] == client_id)


def session(registered, metadata):
    aliases = metadata["mtls_endpoint_aliases"]
    by_key = registered["token_endpoint_auth_method"] == "private_key_jwt"
    made = OAuth2Session(
        registered["client_id"],
        client_secret=import_key(registered["private_jwks"]["keys"][0]) if by_key else None,
        scope="openid accounts",
        token_endpoint=aliases["token_endpoint"],
    )
    if by_key:
        # FAPI 2.0: the assertion is addressed to the issuer, not to the endpoint. The rest is the library's own.
        alg = registered["private_jwks"]["keys"][0]["alg"]
        made.register_client_auth_method(PrivateKeyJWT(metadata["issuer"], alg=alg))
        made.token_endpoint_auth_method = "private_key_jwt"
        made.revocation_endpoint_auth_method = "private_key_jwt"
    else:
        made.token_endpoint_auth_method = "none"  # its way to send nothing but client_id
        made.revocation_endpoint_auth_method = "none"
    made.trust_env = False  # else a bundle of the environment's comes before ours
    made.verify = CA
    made.cert = (registered["certificate_file"], registered["certificate_key_file"])
    return made


def approve(url):
    """Signs in and approves by form posts. Returns where the browser is led."""
    browser = requests.Session()
    browser.trust_env = False
    browser.verify = CA
    user = TOLD["users"][0]
    response = browser.get(url, allow_redirects=False)
    for _ in range(12):
        if "location" in response.headers:
            url = urljoin(url, response.headers["location"])
            if not url.startswith(TOLD["issuer"]):
                return url
            response = browser.get(url, allow_redirects=False)
            continue
        assert response.status_code == 200, response.text[:300]
        page = response.text
        fields = {}
        for tag in re.findall(r'<input[^>]*type="hidden"[^>]*>', page):
            name, value = (re.search(rf'\b{n}="([^"]*)"', tag).group(1) for n in ("name", "value"))
            fields[name] = value.replace("&#38;", "&").replace("&amp;", "&")
        if 'name="password"' in page:
            fields.update(username=user["username"], password=user["password"], action="sign-in")
        else:
            fields["action"] = "approve"
        url = urljoin(url, re.search(r'<form[^>]*\baction="([^"]*)"', page).group(1))
        response = browser.post(url, data=fields, allow_redirects=False)
    raise AssertionError("the pages lead nowhere")


def run(client_id):
    registered = client(client_id)
    metadata = step(f"{client_id}: discovery", lambda: requests.get(TOLD["discovery_url"], verify=CA).json())
    aliases = metadata["mtls_endpoint_aliases"]
    api = TOLD["apis"][0]

    def credentials():
        with session(registered, metadata) as own:
            token = own.fetch_token(grant_type="client_credentials", scope="accounts")
            answer = own.get(api["mtls_url"])
            assert answer.status_code == 200, answer.text
            extra = {"client_id": client_id}
            active = own.introspect_token(aliases["introspection_endpoint"], token["access_token"], body="")
            assert active.json()["active"], active.text
            revoked = own.revoke_token(aliases["revocation_endpoint"], token["access_token"], body="")
            assert revoked.status_code == 200, (revoked.text, extra)
            answer = own.get(api["mtls_url"])
            assert answer.status_code == 401, answer.text

    step(f"{client_id}: client credentials, API call, introspection, revocation", credentials)
    if not TOLD.get("users"):
        print(f"SKIPPED {client_id}: authorization code: there are no users who could sign in")
        return

    def code():
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        redirect_uri = registered["redirect_uris"][0]
        with session(registered, metadata) as own:
            # The library names the client by itself where a certificate authenticates it.
            named = {} if registered["token_endpoint_auth_method"] == "tls_client_auth" else {"client_id": client_id}
            pushed = own.post(
                aliases["pushed_authorization_request_endpoint"], withhold_token=True,
                auth=own.client_auth(own.token_endpoint_auth_method),
                data={
                    **named, "response_type": "code", "redirect_uri": redirect_uri, "scope": "openid accounts",
                    "state": state, "nonce": secrets.token_urlsafe(16), "code_challenge": challenge,
                    "code_challenge_method": "S256",
                },
            )
            assert pushed.status_code == 201, pushed.text
            url = own.create_authorization_url(
                metadata["authorization_endpoint"], state=state, request_uri=pushed.json()["request_uri"]
            )[0]
            landed = approve(url)
            said = parse_qs(urlsplit(landed).query)
            assert said["iss"] == [metadata["issuer"]] and said["state"] == [state], landed
            token = own.fetch_token(authorization_response=landed, code_verifier=verifier, redirect_uri=redirect_uri, state=state)
            assert token["id_token"]
            keys = JsonWebKey.import_key_set(requests.get(metadata["jwks_uri"], verify=CA).json())
            claims = jwt.decode(token["id_token"], keys)
            claims.validate()
            assert claims["aud"] == client_id and claims["iss"] == metadata["issuer"]
            assert own.get(api["mtls_url"]).status_code == 200
            fresh = own.refresh_token(aliases["token_endpoint"], refresh_token=token["refresh_token"])
            assert fresh["access_token"] != token["access_token"]
            assert own.get(api["mtls_url"]).status_code == 200

    step(f"{client_id}: PAR, code, ID token, API call, refresh", code)


for name in ["suite-mtls-1", "suite-jwt-mtls"]:
    run(name)
sys.exit(1 if failed else 0)
