/** Attacks on the sign-in form, the session cookie and what a page of another site can make a browser do. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Hub, PASSWORD } from '../lib/hub.mjs';
import { App, Browser, CLIENTS, cookieName, locationOf, oauthConfig, sessionOf } from '../lib/oauth.mjs';
import { RawUpgrade } from '../lib/raw-upgrade.mjs';
import { inParallel } from '../lib/waiting.mjs';

const ADA = 'ada@example.com';
const BOB = 'bob@example.com';
const hub = await Hub.start({ config: oauthConfig() });
after(() => hub.dispose());
await hub.addUser(ADA, { admin: true });
await hub.addUser(BOB);

/** Who this browser is signed in as. */
const whoIs = async (browser) => (await browser.send('GET', '/auth/get-session')).json()?.user?.email ?? null;

/** Where a browser standing on the hub would go, whatever the spelling; null when it is sent nowhere. */
function targets(answer) {
  const isJson = answer.headers['content-type']?.startsWith('application/json');
  const body = isJson ? answer.json() : null;
  return [answer.headers.location, body?.url, body?.location]
    .filter((target) => typeof target === 'string')
    .map((target) => new URL(target, `${hub.origin}/sign-in`));
}

const FOREIGN = [
  'https://evil.example/',
  '//evil.example/',
  '/\\evil.example/',
  '\\\\evil.example/',
  '\\/evil.example/',
  '///evil.example/',
  '/\t/evil.example/',
  '/\n/evil.example/',
  '\t//evil.example/',
  ' //evil.example/',
  'https:evil.example',
  'https:/\\evil.example/',
  'hTTps://hub.example@evil.example/',
  'https://hub.example.evil.example/',
  'http://hub.example/',
  '/..//evil.example/',
  '/.//evil.example/',
  '/%2f..//evil.example/',
  'javascript:alert(1)',
  'data:text/html,x',
  'evil.example',
];

describe('callbackURL leads nowhere else', () => {
  const form = (callbackURL) => [['email', ADA], ['password', PASSWORD], ['callbackURL', callbackURL]];
  let signedIn;
  before(async () => {
    signedIn = await Browser.signedIn(hub, ADA);
  });

  for (const callbackURL of FOREIGN) {
    test(JSON.stringify(callbackURL), async () => {
      const answers = [
        await new Browser(hub).signIn(ADA, PASSWORD, { callbackURL }),
        await signedIn.send('GET', `/sign-in?${new URLSearchParams({ callbackURL })}`),
        await new Browser(hub).postForm('/sign-in', form(callbackURL)),
      ];
      for (const answer of answers) {
        for (const target of targets(answer)) assert.equal(target.origin, hub.origin, `${target}`);
        assert.ok(answer.status < 500, `${answer.status} ${answer.text()}`);
      }
    });
  }

  test('a path of the hub is taken', async () => {
    const answer = await new Browser(hub).signIn(ADA, PASSWORD, { callbackURL: '/dashboard' });
    assert.equal(answer.status, 200, answer.text());
    const pages = [
      answer,
      await signedIn.send('GET', '/sign-in?callbackURL=/dashboard'),
      await new Browser(hub).postForm('/sign-in', form('/dashboard')),
    ];
    for (const page of pages) assert.equal(targets(page)[0]?.pathname, '/dashboard', `${page.status}`);
  });

  test('the end-session URL goes only where the app said', async () => {
    const browser = await Browser.signedIn(hub, ADA);
    for (const uri of ['https://evil.example/', '//evil.example/', CLIENTS.other.redirectUri, 'javascript:alert(1)']) {
      const query = new URLSearchParams({ client_id: CLIENTS.spa.id, post_logout_redirect_uri: uri });
      const location = locationOf(hub, await browser.send('GET', `/auth/oauth2/end-session?${query}`));
      if (location) assert.equal(location.origin, hub.origin);
    }
    const img = await browser.send('GET', '/auth/oauth2/end-session', { headers: { 'Sec-Fetch-Site': 'cross-site' } });
    assert.ok(img.status < 500);
    assert.equal(await whoIs(browser), ADA, 'a picture on another site signs nobody out');
  });
});

describe('session fixation', () => {
  test('an invented session id never becomes a session', async () => {
    const browser = new Browser(hub);
    const planted = 'A'.repeat(43);
    browser.setCookie(cookieName(hub), planted);
    assert.equal((await browser.signIn(ADA)).status, 200);
    assert.notEqual(browser.session, planted);
    const attacker = new Browser(hub);
    attacker.setCookie(cookieName(hub), planted);
    assert.equal(await whoIs(attacker), null);
  });

  test("the attacker's own session, planted, is not the victim's after the victim signs in", async () => {
    const attacker = await Browser.signedIn(hub, BOB);
    const victim = new Browser(hub);
    victim.setCookie(cookieName(hub), attacker.session);
    assert.equal((await victim.signIn(ADA)).status, 200);
    assert.notEqual(victim.session, attacker.session);
    assert.equal(await whoIs(victim), ADA);
    assert.notEqual(await whoIs(attacker), ADA);
  });

  test('signing in again makes a new id and ends the old one; signing out ends it for good', async () => {
    const browser = await Browser.signedIn(hub, ADA);
    const first = browser.session;
    assert.equal((await browser.signIn(ADA)).status, 200);
    const second = browser.session;
    assert.notEqual(second, first);
    const old = new Browser(hub);
    old.setCookie(cookieName(hub), first);
    assert.equal(await whoIs(old), null);
    assert.equal((await browser.postJson('/auth/sign-out', {})).status, 200);
    old.setCookie(cookieName(hub), second);
    assert.equal(await whoIs(old), null);
  });

  test('two session cookies are nobody; a cookie of another name or a prefix of it is no credential', async () => {
    const ada = await Browser.signedIn(hub, ADA);
    const bob = await Browser.signedIn(hub, BOB);
    const name = cookieName(hub);
    const ask = (cookie) => hub.requests.send('GET', '/auth/get-session', { headers: { Cookie: cookie } });
    assert.equal((await ask(`${name}=${ada.session}`)).json().user.email, ADA);
    for (const cookie of [
      `${name}=${bob.session}; ${name}=${ada.session}`,
      `epicenter_session=${ada.session}`,
      `${name.toLowerCase()}=${ada.session}`,
      `better-auth.session_token=${ada.session}`,
      `${name}="${ada.session}"`,
    ]) {
      assert.equal((await ask(cookie)).json(), null, cookie.replaceAll(/=[^;]+/g, '=…'));
    }
  });

  test('the cookie is out of reach of scripts, other sites and other hosts', async () => {
    const answer = await new Browser(hub).signIn(ADA);
    const [line] = answer.headers['set-cookie'].filter((one) => one.startsWith(cookieName(hub)));
    assert.match(line, /^__Host-epicenter_session=/);
    for (const attribute of ['HttpOnly', 'Secure', 'SameSite=Lax', 'Path=/']) assert.ok(line.includes(attribute), attribute);
    assert.ok(!/domain/i.test(line));
  });
});

describe("another site's page cannot sign anybody in or out", () => {
  const foreign = {
    'a foreign origin': { Origin: 'https://evil.example' },
    'a sandboxed frame': { Origin: 'null' },
    'a sibling of the hub': { Origin: 'https://evil.hub.example' },
    'the hub on plain http': { Origin: 'http://hub.example' },
    'a cross-site fetch without an origin': { Origin: [], 'Sec-Fetch-Site': 'cross-site' },
    'a same-site fetch without an origin': { Origin: [], 'Sec-Fetch-Site': 'same-site' },
    'a foreign origin that says same-origin': { Origin: 'https://evil.example', 'Sec-Fetch-Site': 'same-origin' },
  };
  for (const [what, headers] of Object.entries(foreign)) {
    test(what, async () => {
      const victim = new Browser(hub);
      const fields = [['email', BOB], ['password', PASSWORD]];
      const answers = [
        await victim.postForm('/auth/sign-in/email', fields, headers),
        await victim.postForm('/sign-in', fields, headers),
        await victim.postJson('/auth/sign-in/email', Object.fromEntries(fields), headers),
        await victim.postJson('/auth/sign-in/email', Object.fromEntries(fields), { ...headers, 'Content-Type': 'text/plain' }),
      ];
      for (const answer of answers) {
        assert.equal(answer.status, 403, answer.text());
        assert.equal(answer.headers['set-cookie'], undefined);
      }
      const ada = await Browser.signedIn(hub, ADA);
      for (const path of ['/auth/sign-out', '/sign-out', '/auth/revoke-other-sessions', '/auth/change-password']) {
        assert.equal((await ada.postForm(path, [], headers)).status, 403, path);
      }
      assert.equal(await whoIs(ada), ADA);
    });
  }

  test('with a cookie and neither origin nor fetch metadata: refused', async () => {
    const ada = await Browser.signedIn(hub, ADA);
    const answer = await ada.postJson('/auth/sign-out', {}, { Origin: [] });
    assert.equal(answer.status, 403);
    assert.equal(await whoIs(ada), ADA);
  });
});

describe('who the hub is does not come from a request', () => {
  test('a foreign host is refused, and no header changes issuer or redirects', async () => {
    const expected = (await hub.requests.send('GET', '/auth/.well-known/openid-configuration')).text();
    for (const host of ['evil.example', 'hub.example.evil.example', 'hub.example:444', `127.0.0.1:${hub.port + 1}`]) {
      const answer = await hub.requests.send('GET', '/auth/.well-known/openid-configuration', { headers: { Host: host } });
      assert.equal(answer.status, 421, host);
      assert.ok(!answer.text().includes('evil'), host);
    }
    const spoofed = {
      'X-Forwarded-Host': 'evil.example',
      'X-Forwarded-Proto': 'http',
      Forwarded: 'host=evil.example;proto=http',
      'X-Original-URL': '/evil',
    };
    const answer = await hub.requests.send('GET', '/auth/.well-known/openid-configuration', { headers: spoofed });
    assert.equal(answer.text(), expected);
    const stranger = new Browser(hub);
    const redirected = await stranger.send('GET', new App(hub, CLIENTS.spa).authorizePath({ challenge: 'x'.repeat(43) }), {
      headers: spoofed,
    });
    assert.ok(!`${redirected.headers.location}`.includes('evil'));
  });
});

describe('one request, one credential', () => {
  test('a living cookie beside a bearer is 400, whoever they are; a dead cookie is none', async () => {
    const ada = await Browser.signedIn(hub, ADA);
    const bob = await Browser.signedIn(hub, BOB);
    const grant = await new App(hub, CLIENTS.spa).signIn(ada);
    const both = (browser, token) =>
      hub.requests.send('GET', '/api/session', { token, headers: { Cookie: browser.cookieHeader } });
    for (const [browser, token] of [[ada, grant.access_token], [bob, grant.access_token], [ada, 'nonsense']]) {
      const answer = await both(browser, token);
      assert.equal(answer.status, 400, answer.text());
      assert.equal(answer.errorName(), 'MultipleCredentials');
    }
    await ada.postJson('/auth/sign-out', {});
    const stale = new Browser(hub);
    stale.setCookie(cookieName(hub), 'B'.repeat(43));
    assert.equal((await both(stale, grant.access_token)).status, 200);
    assert.equal((await sessionOf(hub, grant.access_token)).status, 200, "a browser's sign-out ends no app");
  });
});

describe('rooms take bearers only', () => {
  test('a living session opens no room and no socket', async () => {
    const ada = await Browser.signedIn(hub, ADA);
    const { ownerId } = (await ada.send('GET', '/api/session')).json();
    const room = `/api/owners/${ownerId}/rooms/by-cookie`;
    for (const method of ['GET', 'PUT', 'DELETE']) {
      assert.equal((await ada.send(method, room, { headers: { Origin: hub.origin } })).status, 401, method);
    }
    const raw = await RawUpgrade.open(hub, `${room}?deviceId=a`, {
      Cookie: ada.cookieHeader,
      'Sec-WebSocket-Protocol': 'epicenter',
    });
    assert.equal((await raw.closing()).code, 4401);
    raw.end();
  });
});

describe('answers do not tell who has an account', () => {
  const wrong = 'no such password 9177';
  const attempt = (email, password = wrong) => new Browser(hub).signIn(email, password);
  const stable = ({ status, headers, ...answer }) => {
    const { date, 'x-request-id': _, ...kept } = headers;
    return { status, headers: kept, body: answer.body.toString() };
  };

  test('by status, headers or body', async () => {
    const known = await attempt(ADA);
    assert.equal(known.status, 401);
    assert.equal(known.headers['set-cookie'], undefined);
    for (const email of ['nobody@example.com', 'not an address', ADA.toUpperCase(), ` ${ADA} `, `${'x'.repeat(300)}@example.com`]) {
      assert.deepEqual(stable(await attempt(email)), stable(known), email.slice(0, 40));
    }
    await hub.addUser('gone@example.com');
    await hub.admin(['user', 'disable', '--email', 'gone@example.com']);
    assert.deepEqual(stable(await attempt('gone@example.com')), stable(known));
    assert.deepEqual(stable(await attempt('gone@example.com', PASSWORD)), stable(known), 'a disabled one, right password');
  });

  test('by time', async (t) => {
    const timed = async (email) => {
      const begin = performance.now();
      await attempt(email);
      return performance.now() - begin;
    };
    const median = (values) => values.sort((left, right) => left - right)[values.length >> 1];
    const ratio = async () => {
      const times = { known: [], unknown: [] };
      for (let round = 0; round < 30; round += 1) {
        const pair = [['known', ADA], ['unknown', `nobody-${round}@example.com`]];
        // Whoever comes second may find the caches warm.
        for (const [who, email] of round % 2 ? pair : pair.reverse()) times[who].push(await timed(email));
      }
      const [known, unknown] = [median(times.known), median(times.unknown)];
      t.diagnostic(`medians: known ${known.toFixed(1)} ms, unknown ${unknown.toFixed(1)} ms`);
      return Math.max(known, unknown) / Math.min(known, unknown);
    };
    // Without a hash to check, an unknown address would answer some twenty times faster, in each of the three series.
    const ratios = [];
    while (ratios.length < 3 && !ratios.some((found) => found < 1.5)) ratios.push(await ratio());
    assert.ok(ratios.some((found) => found < 1.5), `${ratios}`);
  });
});

describe('a flood of passwords', () => {
  /** Sixty guesses at a new hub: how they are answered, and how long the slowest probe beside them took. */
  async function flood(t) {
    const limited = await Hub.start({ config: oauthConfig({ rateLimits: true }) });
    t.after(() => limited.dispose());
    await limited.addUser(ADA, { admin: true });
    await limited.addUser(BOB);
    const guess = (number) => new Browser(limited).signIn(ADA, `guess number ${number}`);
    let isOver = false;
    const slowest = (async () => {
      let worst = 0;
      while (!isOver) {
        const begin = performance.now();
        assert.equal((await limited.requests.send('GET', '/healthz')).status, 200);
        worst = Math.max(worst, performance.now() - begin);
      }
      return worst;
    })();
    const answers = await inParallel([...Array(60).keys()], 16, guess);
    isOver = true;
    const worst = await slowest;
    t.diagnostic(`slowest probe ${worst.toFixed(1)} ms`);
    const statuses = answers.map(({ status }) => status);
    assert.deepEqual([...new Set(statuses)].filter((status) => ![401, 429, 503].includes(status)), []);
    assert.ok(statuses.filter((status) => status === 401).length <= 20, 'at most a minute’s worth of guesses was checked');
    const slowed = answers.filter(({ status }) => status === 429);
    assert.ok(slowed.length >= 40, `${slowed.length} of 60 were slowed down`);
    for (const { headers } of slowed) assert.match(headers['retry-after'], /^[1-9][0-9]*$/);
    const right = await new Browser(limited).signIn(ADA, PASSWORD);
    assert.equal(right.status, 429, 'the right password among the guesses is not told either');
    return worst;
  }

  test('is slowed down with 429 and Retry-After, and the rest of the hub stays quick', async (t) => {
    // A machine that stands still makes a probe slow too; passwords in the way of everything else would in each flood.
    const slowest = [];
    while (slowest.length < 3 && !slowest.some((took) => took < 1000)) slowest.push(await flood(t));
    assert.ok(slowest.some((took) => took < 1000), `the slowest probes took ${slowest} ms`);
  });
});
