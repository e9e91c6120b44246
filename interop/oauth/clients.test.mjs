/**
 * The hub as strict client libraries see it, unmodified: `openid-client` for what an app does, `oauth4webapi` for every
 * single answer and for a resource server's view of access tokens. Plain http is all that they are asked to overlook.
 */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import * as client from 'openid-client';
import { Hub } from '../lib/hub.mjs';
import { App, Browser, CLIENTS, assertDead, oauthConfig, sessionOf, userOf } from '../lib/oauth.mjs';

const INSECURE = { [oauth.allowInsecureRequests]: true };
const SCOPE = 'openid profile email offline_access';
const EMAIL = 'ada@example.com';

const hub = await Hub.start({ publicOrigin: null, config: oauthConfig() });
after(() => hub.dispose());
await hub.addUser(EMAIL, { admin: true });
const browser = await Browser.signedIn(hub, EMAIL);
const issuer = new URL(`${hub.origin}/auth`);
const as = await oauth.processDiscoveryResponse(
  issuer,
  await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...INSECURE }),
);

/** An app's configuration by discovery; every id_token is also checked against the published keys. */
async function configure({ id, secret }, algorithm = 'oidc') {
  const authentication = secret ? client.ClientSecretBasic(secret) : client.None();
  const execute = [client.allowInsecureRequests, client.enableNonRepudiationChecks];
  return client.discovery(issuer, id, {}, authentication, { algorithm, execute });
}

/** Where the browser lands after it was sent to `url`: the redirect is not followed, it goes to the app. */
async function visit(url, who) {
  const answer = await who.send('GET', `${url.pathname}${url.search}`);
  assert.equal(answer.status, 302, answer.text());
  return new URL(answer.headers.location);
}

/** Authorization code with PKCE, `state`, `nonce` and `iss`, as the library's own documentation does it. */
async function signIn(config, redirectUri, more = {}, who = browser) {
  const verifier = client.randomPKCECodeVerifier();
  const state = client.randomState();
  const nonce = client.randomNonce();
  const landed = await visit(
    client.buildAuthorizationUrl(config, {
      redirect_uri: redirectUri,
      scope: SCOPE,
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      resource: hub.origin,
      state,
      nonce,
      ...more,
    }),
    who,
  );
  const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true };
  return client.authorizationCodeGrant(config, landed, checks, { resource: hub.origin });
}

describe('discovery', () => {
  test('both algorithms find one document, cacheable, with everything that is supported and nothing else', async () => {
    const oidc = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, INSECURE));
    assert.deepEqual(oidc, as);
    assert.equal(as.issuer, `${hub.origin}/auth`);
    assert.equal(as.authorization_endpoint, `${hub.origin}/auth/oauth2/authorize`);
    assert.equal(as.token_endpoint, `${hub.origin}/auth/oauth2/token`);
    assert.deepEqual(as.response_types_supported, ['code']);
    assert.deepEqual(as.code_challenge_methods_supported, ['S256']);
    assert.deepEqual(as.id_token_signing_alg_values_supported, ['ES256']);
    assert.equal(as.authorization_response_iss_parameter_supported, true);
    assert.ok(as.token_endpoint_auth_methods_supported.includes('none'));
    assert.ok(as.token_endpoint_auth_methods_supported.includes('client_secret_basic'));
    assert.ok(!as.introspection_endpoint_auth_methods_supported.includes('none'));
    assert.equal(as.registration_endpoint, undefined);
    for (const grant of ['authorization_code', 'refresh_token']) assert.ok(as.grant_types_supported.includes(grant));
    for (const path of ['/auth/.well-known/openid-configuration', '/.well-known/oauth-authorization-server/auth']) {
      const { headers } = await hub.requests.send('GET', path);
      assert.equal(headers['cache-control'], 'public, max-age=15, stale-while-revalidate=15, stale-if-error=86400');
    }
  });

  test('the protected resource names its authorization server', async () => {
    const resource = new URL(hub.origin);
    const found = await oauth.processResourceDiscoveryResponse(
      resource,
      await oauth.resourceDiscoveryRequest(resource, INSECURE),
    );
    assert.equal(found.resource, hub.origin);
    assert.deepEqual(found.authorization_servers, [as.issuer]);
  });
});

describe('openid-client', () => {
  for (const [kind, app, algorithm] of [
    ['a public app', CLIENTS.spa, 'oidc'],
    ['a confidential app', CLIENTS.site, 'oauth2'],
    ['the command line', { id: 'epicenter-cli', redirectUri: `${hub.origin}/auth/cli-callback` }, 'oauth2'],
  ]) {
    test(`${kind}: sign-in, userinfo, refresh, revocation`, async () => {
      const config = await configure(app, algorithm);
      const tokens = await signIn(config, app.redirectUri);
      assert.equal(tokens.token_type, 'bearer');
      assert.equal(tokens.expires_in, 600);
      assert.equal(tokens.scope, SCOPE);
      const claims = tokens.claims();
      assert.equal(claims.email, EMAIL);
      assert.ok(claims.auth_time <= Date.now() / 1000);

      const about = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
      assert.equal(about.email, EMAIL);
      assert.equal(about.email_verified, true, 'the operator vouches for accounts that the operator makes');

      const renewed = await client.refreshTokenGrant(config, tokens.refresh_token);
      assert.notEqual(renewed.refresh_token, tokens.refresh_token);
      assert.notEqual(renewed.access_token, tokens.access_token);
      assert.equal(renewed.claims().sub, claims.sub);
      assert.equal(renewed.claims().auth_time, claims.auth_time, 'a refresh is no sign-in');
      const user = await userOf(hub, renewed.access_token);
      assert.deepEqual([user.id, user.email, user.keyring.length], [claims.sub, EMAIL, 1]);

      await client.tokenRevocation(config, renewed.refresh_token, { token_type_hint: 'refresh_token' });
      await client.tokenRevocation(config, renewed.refresh_token);
      await client.tokenRevocation(config, 'whatever it is');
      await assert.rejects(client.refreshTokenGrant(config, renewed.refresh_token), { error: 'invalid_grant' });
      await assertDead(new App(hub, app), renewed);
    });
  }

  test('an app on the loopback of a development hub is redirected to any port', async () => {
    const config = await configure({ id: 'epicenter-cli' });
    const tokens = await signIn(config, 'http://127.0.0.1:49152/callback');
    assert.equal((await sessionOf(hub, tokens.access_token)).status, 200);
  });

  test('an answer whose issuer is another one, or none, is not taken by the library', async () => {
    const config = await configure(CLIENTS.spa);
    const { location, verifier } = await new App(hub, CLIENTS.spa).ask(browser);
    for (const change of [(url) => url.searchParams.set('iss', 'https://evil.example'), (url) => url.searchParams.delete('iss')]) {
      const changed = new URL(location);
      change(changed);
      await assert.rejects(
        client.authorizationCodeGrant(config, changed, { pkceCodeVerifier: verifier, expectedState: 'a-state' }),
        (error) => /issuer|iss/.test(`${error.message} ${error.cause?.message}`),
      );
    }
  });

  test('an error at the redirect URI is one that the library understands', async () => {
    const config = await configure(CLIENTS.spa);
    await assert.rejects(signIn(config, CLIENTS.spa.redirectUri, { scope: 'openid bogus' }), { error: 'invalid_scope' });
  });

  test('introspection by a confidential app: what lives, what is dead, and nothing about what is foreign', async () => {
    const config = await configure(CLIENTS.site);
    const tokens = await signIn(config, CLIENTS.site.redirectUri);
    for (const token of [tokens.access_token, tokens.refresh_token]) {
      const living = await client.tokenIntrospection(config, token);
      assert.equal(living.active, true);
      assert.equal(living.sub, tokens.claims().sub);
      assert.equal(living.client_id, CLIENTS.site.id);
      assert.ok(living.exp > Date.now() / 1000);
    }
    await client.tokenRevocation(config, tokens.access_token);
    for (const token of [tokens.access_token, tokens.refresh_token, 'nonsense']) {
      assert.deepEqual(await client.tokenIntrospection(config, token), { active: false });
    }
  });

  test('sign-out at the end-session URL leads back to the app and ends the browser session', async () => {
    const own = await Browser.signedIn(hub, EMAIL);
    const config = await configure(CLIENTS.site);
    const tokens = await signIn(config, CLIENTS.site.redirectUri, {}, own);
    const url = client.buildEndSessionUrl(config, {
      id_token_hint: tokens.id_token,
      post_logout_redirect_uri: CLIENTS.site.redirectUri,
      state: 'bye',
    });
    assert.equal(url.href.split('?')[0], `${hub.origin}/auth/oauth2/end-session`);
    const answer = await own.send('GET', `${url.pathname}${url.search}`);
    const landed = new URL(answer.headers.location);
    assert.equal(`${landed.origin}${landed.pathname}`, CLIENTS.site.redirectUri);
    assert.equal(landed.searchParams.get('state'), 'bye');
    assert.equal((await own.send('GET', '/auth/get-session')).json(), null);
    assert.ok((await browser.send('GET', '/auth/get-session')).json(), 'the other browser stays signed in');
  });
});

describe('oauth4webapi', () => {
  const app = { client_id: CLIENTS.spa.id };
  const grant = async () => new App(hub, CLIENTS.spa).signIn(browser);

  test('an access token is a JWT access token of RFC 9068, and a refreshed one too', async () => {
    const first = await grant();
    const second = await new App(hub, CLIENTS.spa).renewed(first.refresh_token);
    const seen = [];
    for (const { access_token: token } of [first, second]) {
      const request = new Request(`${hub.origin}/api/session`, { headers: { Authorization: `Bearer ${token}` } });
      const claims = await oauth.validateJwtAccessToken(as, request, hub.origin, {
        signingAlgorithms: ['ES256'],
        ...INSECURE,
      });
      assert.equal(claims.client_id, CLIENTS.spa.id);
      assert.equal(claims.azp, CLIENTS.spa.id);
      assert.equal(claims.exp - claims.iat, 600);
      const scopes = claims.scope.split(' ');
      for (const scope of ['rooms.read', 'rooms.write', 'keyring', 'ai']) assert.ok(scopes.includes(scope), scope);
      assert.ok(!scopes.includes('account'), 'no app gets `account` without asking');
      seen.push(claims);
    }
    assert.notEqual(seen[0].jti, seen[1].jti);
    assert.equal(seen[0].gid, seen[1].gid, 'one grant');
  });

  test('an id_token is no access token, for the library and for the hub', async () => {
    const { id_token: token } = await grant();
    const request = new Request(`${hub.origin}/api/session`, { headers: { Authorization: `Bearer ${token}` } });
    await assert.rejects(oauth.validateJwtAccessToken(as, request, hub.origin, INSECURE));
    assert.equal((await sessionOf(hub, token)).status, 401);
  });

  test('an id_token verifies with jose: issuer, audience, algorithm, age', async () => {
    const { id_token: token } = await grant();
    const keys = jose.createRemoteJWKSet(new URL(as.jwks_uri));
    const { payload, protectedHeader } = await jose.jwtVerify(token, keys, {
      issuer: as.issuer,
      audience: CLIENTS.spa.id,
      algorithms: ['ES256'],
      maxTokenAge: '1m',
    });
    assert.notEqual(protectedHeader.typ, 'at+jwt');
    assert.equal(payload.email, EMAIL);
    assert.equal(payload.nonce, undefined);
  });

  test('userinfo is refused without a token and with a dead one, as RFC 6750 says', async () => {
    for (const token of ['nonsense', (await grant()).id_token]) {
      const response = await oauth.userInfoRequest(as, app, token, INSECURE);
      await assert.rejects(
        oauth.processUserInfoResponse(as, app, oauth.skipSubjectCheck, response),
        (error) => error.cause?.[0]?.parameters?.error === 'invalid_token',
      );
    }
    const bare = await hub.requests.send('GET', '/auth/oauth2/userinfo');
    assert.equal(bare.status, 401);
    assert.match(bare.headers['www-authenticate'], /^Bearer\b/);
  });

  test('max_age and prompt=login are honoured: an old sign-in is not enough, and the claim says when it was', async () => {
    const tokens = await signIn(await configure(CLIENTS.spa), CLIENTS.spa.redirectUri, { max_age: '3600' });
    assert.ok(Date.now() / 1000 - tokens.claims().auth_time < 3600);
    const { location } = await new App(hub, CLIENTS.spa).ask(browser, { prompt: 'login' });
    assert.equal(location.pathname, '/sign-in');
    const silent = await new App(hub, CLIENTS.spa).ask(browser, { prompt: 'none' });
    assert.ok(silent.location.searchParams.get('code'), `${silent.location}`);
  });

  test('a fetch gets the redirect as JSON, because it cannot follow one to another origin', async () => {
    const app = new App(hub, CLIENTS.spa);
    for (const headers of [{ Accept: 'application/json' }, { 'Sec-Fetch-Mode': 'cors' }]) {
      const answer = await browser.send('GET', app.authorizePath({ challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM' }), { headers });
      assert.equal(answer.status, 200);
      const { redirect, url } = answer.json();
      assert.equal(redirect, true);
      assert.ok(new URL(url).searchParams.get('code'));
    }
  });
});
