/** Attacks on codes, tokens and redirects, over the wire. What happens at the sign-in form is in `sign-in.test.mjs`. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { Hub } from '../lib/hub.mjs';
import {
  ALLOW,
  App,
  Browser,
  CLIENTS,
  CONTINUE,
  DENY,
  assertAlive,
  assertDead,
  assertOAuthError,
  locationOf,
  oauthConfig,
  pkce,
  sessionOf,
} from '../lib/oauth.mjs';

const hub = await Hub.start({ config: oauthConfig() });
after(() => hub.dispose());
await hub.addUser('ada@example.com', { admin: true });
await hub.addUser('bob@example.com');
const browser = await Browser.signedIn(hub, 'ada@example.com');
const stranger = new Browser(hub);
const spa = new App(hub, CLIENTS.spa);
const other = new App(hub, CLIENTS.other);
const site = new App(hub, CLIENTS.site);
const notes = new App(hub, CLIENTS.notes);
const ISSUER = `${hub.origin}/auth`;
const pathOf = ({ pathname, search }) => `${pathname}${search}`;
const carriesCode = (answer) => /[?&]code=/.test(answer.headers.location ?? '');

describe('a code is good once', () => {
  test('a second use is refused, and what the first one issued dies', async () => {
    const code = await spa.code(browser);
    const bystander = await spa.signIn(browser);
    const grant = (await spa.exchange(code)).json();
    assert.equal((await sessionOf(hub, grant.access_token)).status, 200);
    assertOAuthError(await spa.exchange(code), 'invalid_grant');
    await assertDead(spa, grant);
    await assertAlive(spa, bystander);
  });

  test('four uses at once: at most one gets tokens, and these die', async () => {
    for (let round = 0; round < 5; round += 1) {
      const code = await spa.code(browser);
      const answers = await Promise.all([1, 2, 3, 4].map(() => spa.exchange(code)));
      const granted = answers.filter(({ status }) => status === 200);
      assert.ok(granted.length <= 1, `${granted.length} exchanges of one code succeeded`);
      for (const answer of answers.filter(({ status }) => status !== 200)) assertOAuthError(answer, 'invalid_grant');
      for (const answer of granted) await assertDead(spa, answer.json());
    }
  });

  test('a wrong verifier gets nothing and does not burn the code', async () => {
    const code = await spa.code(browser);
    for (const verifier of [pkce().verifier, `${code.verifier}x`, code.verifier.slice(0, -1), code.verifier.toUpperCase()]) {
      assertOAuthError(await spa.exchange({ ...code, verifier }), 'invalid_grant');
    }
    for (const verifier of [null, '']) {
      const answer = await spa.exchange({ ...code, verifier });
      assert.equal(answer.status, 400);
      assert.match(answer.json().error, /^invalid_(request|grant)$/);
    }
    assert.equal((await spa.exchange(code)).status, 200);
  });

  test('another redirect URI than that of the request gets nothing', async () => {
    const code = await spa.code(browser);
    for (const redirect of [CLIENTS.other.redirectUri, `${CLIENTS.spa.redirectUri}/`, 'https://evil.example/']) {
      assertOAuthError(await spa.exchange(code, { redirect_uri: redirect }), 'invalid_grant');
    }
    assert.equal((await spa.exchange(code)).status, 200);
  });

  test("a code in another client's hands is worthless and stays good for its own", async () => {
    const code = await spa.code(browser);
    assertOAuthError(await other.exchange(code, { redirect_uri: spa.redirectUri }), 'invalid_grant');
    assertOAuthError(await site.exchange(code, { redirect_uri: spa.redirectUri }), 'invalid_grant');
    assert.equal((await spa.exchange(code)).status, 200);
  });

  test('a confidential app without its secret, or with another, gets nothing', async () => {
    const code = await site.code(browser);
    for (const secret of [null, 'guess', CLIENTS.notes.secret]) {
      assertOAuthError(await site.exchange(code, { client_secret: secret }), 'invalid_client', 401);
    }
    const basic = Buffer.from(`${site.id}:wrong`).toString('base64');
    const headers = { Authorization: `Basic ${basic}` };
    const fields = { client_id: null, client_secret: null, token: 'x' };
    assertOAuthError(await site.post('introspect', fields, headers), 'invalid_client', 401);
    assert.equal((await site.exchange(code)).status, 200);
  });
});

describe('PKCE cannot be left out or weakened', () => {
  const cases = {
    'no challenge': { code_challenge: null, code_challenge_method: null },
    'no method': { code_challenge_method: null },
    'method plain': { code_challenge_method: 'plain' },
    'an empty challenge': { code_challenge: '' },
    'a challenge that is no SHA-256': { code_challenge: 'short' },
  };
  for (const [what, overrides] of Object.entries(cases)) {
    for (const app of [spa, site]) {
      test(`${what}, ${app.id}`, async () => {
        const { location } = await app.ask(browser, overrides);
        assert.equal(location.origin, new URL(app.redirectUri).origin);
        assert.equal(location.searchParams.get('error'), 'invalid_request');
        assert.equal(location.searchParams.get('code'), null);
      });
    }
  }
});

describe('no answer goes to a redirect URI that is not registered', () => {
  const foreign = {
    'another site': 'https://evil.example/callback',
    'a sibling': 'https://evil.spa.example/callback',
    'a longer host': 'https://spa.example.evil.example/callback',
    'credentials in front': 'https://spa.example@evil.example/callback',
    'a longer path': `${spa.redirectUri}/../evil`,
    'a trailing slash': `${spa.redirectUri}/`,
    'another case': 'https://spa.example/Callback',
    'a query': `${spa.redirectUri}?next=https://evil.example`,
    'a fragment': `${spa.redirectUri}#x`,
    'plain http': 'http://spa.example/callback',
    'another port': 'https://spa.example:8443/callback',
    'a script': 'javascript:alert(1)',
    'a data URL': 'data:text/html,x',
    'a backslash': 'https://evil.example\\@spa.example/callback',
    'a line break': `${spa.redirectUri}\r\nX-Evil: 1`,
    'a loopback look-alike': 'http://127.0.0.1.evil.example/callback',
    'a loopback address of an app that has none': 'http://127.0.0.1:8080/callback',
    'that of another app': CLIENTS.other.redirectUri,
    nothing: null,
    'two of them': [CLIENTS.spa.redirectUri, 'https://evil.example/callback'],
  };
  for (const [what, redirectUri] of Object.entries(foreign)) {
    test(what, async () => {
      for (const [who, overrides] of [[browser, {}], [browser, { scope: 'bogus' }], [stranger, { prompt: 'none' }]]) {
        const { answer, location } = await spa.ask(who, { redirect_uri: redirectUri, ...overrides });
        if (location) assert.equal(location.origin, hub.origin, `${answer.status} ${location}`);
        else assert.ok(answer.status >= 400, `${answer.status}`);
        assert.ok(!`${answer.headers.location} ${answer.text()}`.includes('code='), 'no code is anywhere');
        assert.equal(answer.headers['x-evil'], undefined);
      }
    });
  }

  test('an unknown client is told so by the hub, not at its redirect URI', async () => {
    const { answer, location } = await spa.ask(browser, { client_id: 'nobody' });
    assert.ok(location ? location.origin === hub.origin : answer.status >= 400);
  });
});

describe('mix-up: every answer says whose it is', () => {
  const cases = {
    'a code': [browser, {}],
    'an unknown scope': [browser, { scope: 'openid bogus' }],
    'no challenge': [browser, { code_challenge: null }],
    'another response type': [browser, { response_type: 'token' }],
    'no response type': [browser, { response_type: null }],
    'a foreign resource': [browser, { resource: 'https://evil.example' }],
    'nobody signed in, silently': [stranger, { prompt: 'none' }],
    'a request object': [browser, { request: 'eyJhbGciOiJub25lIn0.e30.' }],
    'none beside another prompt': [browser, { prompt: 'none login' }],
  };
  for (const [what, [who, overrides]] of Object.entries(cases)) {
    test(what, async () => {
      const { answer, location } = await spa.ask(who, overrides);
      assert.ok(location, `${answer.status} ${answer.text()}`);
      assert.equal(`${location.origin}${location.pathname}`, CLIENTS.spa.redirectUri);
      assert.deepEqual(location.searchParams.getAll('iss'), [ISSUER]);
      assert.deepEqual(location.searchParams.getAll('state'), ['a-state']);
      assert.notEqual(location.searchParams.has('code'), location.searchParams.has('error'));
    });
  }

  test('declined by the person', async () => {
    const { location } = await notes.ask(browser, { scope: 'openid keyring', prompt: 'consent' });
    const answer = await browser.press(pathOf(location), DENY);
    const declined = locationOf(hub, answer);
    assert.equal(declined.searchParams.get('error'), 'access_denied');
    assert.deepEqual(declined.searchParams.getAll('iss'), [ISSUER]);
  });

  test('a token for another resource is not to be had at the token endpoint either', async () => {
    const code = await spa.code(browser);
    assertOAuthError(await spa.exchange(code, { resource: 'https://evil.example' }), 'invalid_target');
    assert.equal((await spa.exchange(code)).status, 200);
  });
});

describe('tokens of one app are nothing to another', () => {
  test('refresh: refused, and the grant lives', async () => {
    const grant = await spa.signIn(browser);
    for (const thief of [other, site, notes]) assertOAuthError(await thief.refresh(grant.refresh_token), 'invalid_grant');
    await assertAlive(spa, grant);
  });

  test('revocation: 200, and the grant lives', async () => {
    const grant = await spa.signIn(browser);
    for (const thief of [other, site]) {
      for (const token of [grant.refresh_token, grant.access_token]) {
        assert.equal((await thief.revoke(token)).status, 200);
      }
    }
    await assertAlive(spa, grant);
  });

  test('introspection: a public app may not ask, a foreign one learns nothing', async () => {
    const grant = await spa.signIn(browser);
    assertOAuthError(await other.post('introspect', { token: grant.access_token }), 'invalid_client', 401);
    const answer = await notes.post('introspect', { token: grant.refresh_token });
    assert.deepEqual(answer.json(), { active: false });
  });

  test('a refresh token is no bearer, an access token no refresh token', async () => {
    const grant = await spa.signIn(browser);
    assert.equal((await sessionOf(hub, grant.refresh_token)).status, 401);
    assertOAuthError(await spa.refresh(grant.access_token), 'invalid_grant');
  });

  test('revoking an access token ends its grant', async () => {
    const grant = await spa.signIn(browser);
    assert.equal((await spa.revoke(grant.access_token)).status, 200);
    await assertDead(spa, grant);
  });
});

describe("somebody else's app holds what the person allowed", () => {
  test('asking for the keyring leads to consent, never silently to a code', async () => {
    const { location } = await notes.ask(browser, { scope: 'openid keyring' });
    assert.equal(location.origin, hub.origin);
    assert.equal(location.pathname, '/consent');
    const silent = await notes.ask(browser, { scope: 'openid keyring', prompt: 'none' });
    assert.equal(silent.location.searchParams.get('error'), 'consent_required');
    assert.equal(silent.location.searchParams.get('code'), null);
  });

  test('a changed pending request is not shown and not granted', async () => {
    const { location } = await notes.ask(browser, { scope: 'openid' });
    const { action, fields } = await browser.form(pathOf(location), ALLOW);
    for (const change of [
      (query) => query.set('scope', 'openid keyring rooms.write'),
      (query) => query.append('scope', 'keyring'),
      (query) => query.set('redirect_uri', 'https://evil.example/'),
      (query) => query.set('client_id', spa.id),
      (query) => query.set('exp', String(Number(query.get('exp')) + 3600)),
      (query) => query.delete('sig'),
      (query) => query.append('prompt', 'none'),
    ]) {
      const changed = new URL(location);
      change(changed.searchParams);
      const shown = await browser.send('GET', pathOf(changed));
      assert.ok(shown.status >= 400 || locationOf(hub, shown)?.pathname === '/auth/error', `${shown.status}`);
      const signed = fields.find(([, value]) => value.includes('sig='));
      const forged = fields.map((field) => (field === signed ? [field[0], changed.search.slice(1)] : field));
      const posted = await browser.postForm(action, forged);
      assert.ok(!carriesCode(posted), `${posted.status} ${posted.headers.location}`);
    }
    assert.ok(carriesCode(await browser.postForm(action, fields)), 'unchanged it is granted');
  });

  test('without the keyring scope the session has no keys, nor may a refresh ask for them', async () => {
    const { location, verifier } = await notes.ask(browser, { scope: 'openid offline_access' });
    const answer = await browser.press(pathOf(location), ALLOW);
    const landed = locationOf(hub, answer);
    assert.equal(`${landed.origin}${landed.pathname}`, CLIENTS.notes.redirectUri, answer.text());
    const exchanged = await notes.exchange({ code: landed.searchParams.get('code'), verifier });
    assert.equal(exchanged.status, 200, exchanged.text());
    const grant = exchanged.json();
    const session = (await sessionOf(hub, grant.access_token)).json();
    assert.deepEqual(session.keyring, []);
    assertOAuthError(await notes.refresh(grant.refresh_token, { scope: 'openid keyring' }), 'invalid_scope');
    const rooms = await hub.requests.send('GET', `/api/owners/${session.ownerId}/rooms`, { token: grant.access_token });
    assert.equal(rooms.status, 403);
    assert.match(rooms.headers['www-authenticate'], /insufficient_scope/);
    const again = await notes.ask(browser, { scope: 'openid keyring' });
    assert.equal(again.location.pathname, '/consent', 'what was allowed covers nothing more');
  });

  test('a consent is given by who was asked: not from another site, not without a session, not in another', async () => {
    const { location } = await notes.ask(browser, { scope: 'openid keyring' });
    const { action, fields } = await browser.form(pathOf(location), ALLOW);
    const bob = await Browser.signedIn(hub, 'bob@example.com');
    const again = await Browser.signedIn(hub, 'ada@example.com');
    for (const path of [action, '/auth/oauth2/consent']) {
      const crossSite = await browser.postForm(path, fields, { Origin: 'https://evil.example' });
      assert.equal(crossSite.status, 403, path);
      for (const who of [stranger, bob, again]) assert.ok(!carriesCode(await who.postForm(path, fields)), path);
    }
    assert.ok(carriesCode(await browser.postForm(action, fields)), 'who was asked may');
  });
});

describe('a native app can be imitated by any program of the machine', () => {
  const loopback = { redirect_uri: 'http://127.0.0.1:49152/callback' };
  const cli = App.cli(hub);

  test('so a loopback redirect waits for a click, and silently gets nothing', async () => {
    const { location } = await cli.ask(browser, loopback);
    assert.equal(location.origin, hub.origin);
    assert.equal(location.pathname, '/continue');
    const silent = await cli.ask(browser, { ...loopback, prompt: 'none' });
    assert.equal(silent.location.searchParams.get('error'), 'interaction_required');
    const clicked = locationOf(hub, await browser.press(pathOf(location), CONTINUE));
    assert.equal(`${clicked.origin}${clicked.pathname}`, loopback.redirect_uri);
    assert.ok(clicked.searchParams.get('code'));
  });

  test('pasting is the click: the code page names the hub and is kept by nobody', async () => {
    const { code } = await cli.code(browser);
    const page = await browser.send('GET', `/auth/cli-callback?code=${code}&state=a-state`);
    assert.equal(page.status, 200);
    assert.match(page.headers['cache-control'], /no-store/);
    assert.equal(page.headers['referrer-policy'], 'no-referrer');
    assert.ok(page.text().includes(code));
    const script = await browser.send('GET', '/auth/cli-callback?code=%3Cscript%3Ealert(1)%3C/script%3E');
    assert.ok(!script.text().includes('<script>alert'));
  });
});

describe('the token endpoint speaks forms only, and once', () => {
  test('JSON, a query, a GET and repeated fields are refused', async () => {
    const code = await spa.code(browser);
    const fields = { grant_type: 'authorization_code', client_id: spa.id, code: code.code, code_verifier: code.verifier };
    fields.redirect_uri = spa.redirectUri;
    const json = await hub.requests.send('POST', '/auth/oauth2/token', {
      headers: { 'Content-Type': 'application/json' },
      body: Buffer.from(JSON.stringify(fields)),
    });
    assert.ok(json.status === 400 || json.status === 415, `${json.status}`);
    const query = await hub.requests.send('POST', `/auth/oauth2/token?${new URLSearchParams(fields)}`);
    assert.ok(query.status >= 400 && query.status < 500, `${query.status}`);
    const get = await hub.requests.send('GET', `/auth/oauth2/token?${new URLSearchParams(fields)}`);
    assert.ok([404, 405].includes(get.status), `${get.status}`);
    const twice = await hub.requests.send('POST', '/auth/oauth2/token', {
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      body: Buffer.from(`${new URLSearchParams(fields)}&client_id=other-spa`),
    });
    assertOAuthError(twice, 'invalid_request');
    assert.equal((await spa.exchange(code)).status, 200);
  });

  test('nobody learns a token from a cache', async () => {
    const answer = await spa.exchange(await spa.code(browser));
    assert.equal(answer.headers['cache-control'], 'no-store');
    assert.match(answer.headers['content-type'], /^application\/json/);
  });

  test('grants that are not offered are refused by name', async () => {
    for (const grant of ['password', 'client_credentials', 'implicit']) {
      assertOAuthError(await site.post('token', { grant_type: grant }), 'unsupported_grant_type');
    }
  });
});
