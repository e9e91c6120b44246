"""Authlib, unmodified, as an app of the hub: discovery, code with PKCE, id_token, userinfo, refresh, revocation.

Reads one JSON object on stdin: origin, email, password, client_id, redirect_uri and, for a confidential app,
client_secret. Prints what it saw as one JSON object. Anything that is not as it should be is an exception.
"""

import json
import os
import secrets
import sys
from urllib.parse import parse_qs, urlsplit

# The hub under test is plain http on loopback.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2 import rfc8414, rfc9207
from authlib.oauth2.rfc9068.claims import JWTAccessTokenClaims
from authlib.oidc.core import CodeIDToken, UserInfo
from joserfc import jwt
from joserfc.jwk import KeySet

SCOPE = "openid profile email offline_access"
DEADLINE_S = 30


def get_json(url):
    answer = requests.get(url, timeout=DEADLINE_S)
    answer.raise_for_status()
    return answer.json()


def discover(origin):
    """The document of RFC 8414 as Authlib judges it; OpenID Connect's own must be the same."""
    issuer = f"{origin}/auth"
    metadata = rfc8414.AuthorizationServerMetadata(get_json(f"{origin}/.well-known/oauth-authorization-server/auth"))
    metadata.validate(metadata_classes=[rfc9207.AuthorizationServerMetadata])
    assert metadata["issuer"] == issuer, metadata["issuer"]
    assert get_json(f"{issuer}/.well-known/openid-configuration") == metadata
    return metadata


def sign_in(origin, email, password):
    """A browser in which the person has signed in."""
    browser = requests.Session()
    answer = browser.post(
        f"{origin}/auth/sign-in/email",
        json={"email": email, "password": password},
        headers={"Origin": origin},
        timeout=DEADLINE_S,
    )
    answer.raise_for_status()
    return browser


def authorize(browser, app, metadata, origin):
    """Tokens by the code flow, and the nonce that the id_token must carry."""
    verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
    url, state = app.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=verifier, nonce=nonce, resource=origin
    )
    answer = browser.get(url, allow_redirects=False, timeout=DEADLINE_S)
    assert answer.status_code == 302, (answer.status_code, answer.text)
    location = answer.headers["Location"]
    assert parse_qs(urlsplit(location).query)["iss"] == [metadata["issuer"]], location
    token = app.fetch_token(
        metadata["token_endpoint"],
        authorization_response=location,
        code_verifier=verifier,
        state=state,
        resource=origin,
    )
    return token, nonce


def check_id_token(text, keys, metadata, client_id, nonce, access_token):
    token = jwt.decode(text, keys, algorithms=["ES256"])
    options = {"iss": {"essential": True, "value": metadata["issuer"]}, "aud": {"essential": True, "value": client_id}}
    params = {"client_id": client_id, "nonce": nonce, "access_token": access_token, "max_age": 3600}
    claims = CodeIDToken(token.claims, token.header, options=options, params=params)
    claims.validate()
    return claims


def check_access_token(text, keys, metadata, origin):
    token = jwt.decode(text, keys, algorithms=["ES256"])
    options = {
        "iss": {"essential": True, "value": metadata["issuer"]},
        "aud": {"essential": True, "value": origin},
        "client_id": {"essential": True},
        "jti": {"essential": True},
    }
    claims = JWTAccessTokenClaims(token.claims, token.header, options=options)
    claims.validate()
    return claims


def main():
    given = json.load(sys.stdin)
    origin, client_id = given["origin"], given["client_id"]
    metadata = discover(origin)
    keys = KeySet.import_key_set(get_json(metadata["jwks_uri"]))
    app = OAuth2Session(
        client_id,
        given.get("client_secret"),
        redirect_uri=given["redirect_uri"],
        scope=SCOPE,
        code_challenge_method="S256",
    )
    browser = sign_in(origin, given["email"], given["password"])

    first, nonce = authorize(browser, app, metadata, origin)
    claims = check_id_token(first["id_token"], keys, metadata, client_id, nonce, first["access_token"])
    check_access_token(first["access_token"], keys, metadata, origin)
    about = UserInfo(app.get(metadata["userinfo_endpoint"], timeout=DEADLINE_S).json())
    assert about.sub == claims["sub"], about
    assert about.email == given["email"], about

    second = app.refresh_token(metadata["token_endpoint"])
    assert second["refresh_token"] != first["refresh_token"]
    check_id_token(second["id_token"], keys, metadata, client_id, None, second["access_token"])
    session = app.get(f"{origin}/api/session", timeout=DEADLINE_S)
    assert session.status_code == 200, session.text

    if given.get("client_secret"):
        seen = app.introspect_token(metadata["introspection_endpoint"], token=second["access_token"]).json()
        assert seen["active"] is True, seen
    revoked = app.revoke_token(
        metadata["revocation_endpoint"], token=second["refresh_token"], token_type_hint="refresh_token"
    )
    assert revoked.status_code == 200, revoked.text
    try:
        app.refresh_token(metadata["token_endpoint"], refresh_token=second["refresh_token"])
        raise AssertionError("a revoked refresh token was taken")
    except OAuthError as error:
        assert error.error == "invalid_grant", error

    json.dump({"sub": claims["sub"], "email": about.email, "session": session.json()}, sys.stdout)


if __name__ == "__main__":
    main()
