/** Rotation that never signs an honest person out and never lets a thief stay; revocations that reach everything. */
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, describe, test } from 'node:test';
import { Hub } from '../lib/hub.mjs';
import {
  App,
  Browser,
  CLIENTS,
  REVOCATION_REACHES_MS,
  assertAlive,
  assertDead,
  assertOAuthError,
  eventually,
  oauthConfig,
  sessionOf,
  userOf,
} from '../lib/oauth.mjs';
import { moveIntoPast } from '../lib/past.mjs';
import { RoomSocket } from '../lib/socket.mjs';

const MINUTE_MS = 60_000;
const hub = await Hub.start({ config: oauthConfig() });
after(() => hub.dispose());
await hub.addUser('ada@example.com', { admin: true });
await hub.addUser('bob@example.com');
const spa = new App(hub, CLIENTS.spa);
let ada = await Browser.signedIn(hub, 'ada@example.com');
let bob = await Browser.signedIn(hub, 'bob@example.com');

/** Sends a refresh and hangs up before the answer can be read; resolves when the request is written. */
function lostRefresh(app, refreshToken) {
  const body = new URLSearchParams({
    grant_type: 'refresh_token',
    client_id: app.id,
    refresh_token: refreshToken,
  }).toString();
  const head = [
    'POST /auth/oauth2/token HTTP/1.1',
    `Host: 127.0.0.1:${hub.port}`,
    'Content-Type: application/x-www-form-urlencoded',
    `Content-Length: ${body.length}`,
    '',
    body,
  ].join('\r\n');
  return new Promise((resolve, reject) => {
    const socket = net.connect(hub.port, '127.0.0.1');
    socket.once('error', reject);
    socket.once('connect', () => socket.write(head, () => {
      socket.resetAndDestroy();
      resolve();
    }));
  });
}

/** Waits until the hub has closed the socket; answers how it did and how long that took. */
async function closedWithin(socket, deadlineMs, act) {
  const begin = performance.now();
  await act();
  const sent = performance.now();
  const { code, reason } = await socket.closing();
  const took = performance.now() - sent;
  assert.ok(took < deadlineMs, `closed ${took} ms after the act, which took ${sent - begin} ms`);
  return { code, reason };
}

describe('an honest app', () => {
  test('two tabs refresh at once: both get the same answer, and it works', async () => {
    for (let round = 0; round < 10; round += 1) {
      const grant = await spa.signIn(ada);
      const [first, second, third] = await Promise.all([1, 2, 3].map(() => spa.renewed(grant.refresh_token)));
      assert.deepEqual(second, first);
      assert.deepEqual(third, first);
      await assertAlive(spa, first);
    }
  });

  test('a tab that was asleep follows the chain to the newest answer', async () => {
    const grant = await spa.signIn(ada);
    const second = await spa.renewed(grant.refresh_token);
    const third = await spa.renewed(second.refresh_token);
    assert.deepEqual(await spa.renewed(grant.refresh_token), third);
    assert.deepEqual(await spa.renewed(second.refresh_token), third);
    await assertAlive(spa, third);
  });

  test('the answer gets lost on the way: the old token asks again and gets it', async () => {
    for (let round = 0; round < 10; round += 1) {
      const grant = await spa.signIn(ada);
      await lostRefresh(spa, grant.refresh_token);
      const renewed = await spa.renewed(grant.refresh_token);
      assert.deepEqual(await spa.renewed(grant.refresh_token), renewed);
      await assertAlive(spa, renewed);
    }
  });

  test('kill -9 between the refresh and its answer: the old token gets one that works', async () => {
    const grants = [];
    for (let count = 0; count < 8; count += 1) grants.push(await spa.signIn(ada));
    const answered = await spa.renewed(grants[0].refresh_token);
    const lost = grants.slice(1).map(({ refresh_token: token }) => spa.refresh(token).catch(() => null));
    await hub.kill();
    const answers = await Promise.all(lost);
    await hub.boot();
    assert.deepEqual(await spa.renewed(grants[0].refresh_token), answered, 'what was answered is still the answer');
    for (const [index, grant] of grants.slice(1).entries()) {
      const renewed = await spa.renewed(grant.refresh_token);
      const before = answers[index];
      if (before?.status === 200) assert.deepEqual(renewed, before.json());
      await assertAlive(spa, renewed);
    }
  });

  test('a session outlives kill -9 as well', async () => {
    await hub.restart('SIGKILL');
    assert.ok((await ada.send('GET', '/auth/get-session')).json());
  });

  test('narrower scopes hold for good', async () => {
    const grant = await spa.signIn(ada);
    const narrow = (await spa.refresh(grant.refresh_token, { scope: 'openid offline_access' })).json();
    assert.equal(narrow.scope, 'openid offline_access');
    assertOAuthError(await spa.refresh(narrow.refresh_token, { scope: 'openid email offline_access' }), 'invalid_scope');
    assert.equal((await spa.renewed(narrow.refresh_token)).scope, 'openid offline_access');
  });
});

describe('long after', () => {
  test('a lost answer is replaced once; the token in it is dead, and whoever shows it ends the grant', async () => {
    const grant = await spa.signIn(ada);
    const unseen = await spa.renewed(grant.refresh_token);
    await moveIntoPast(hub, 2 * MINUTE_MS);
    const renewed = await spa.renewed(grant.refresh_token);
    assert.notEqual(renewed.refresh_token, unseen.refresh_token);
    assert.deepEqual(await spa.renewed(grant.refresh_token), renewed, 'the replaced answer is repeated as well');
    assert.equal((await sessionOf(hub, renewed.access_token)).status, 200);
    assertOAuthError(await spa.refresh(unseen.refresh_token), 'invalid_grant');
    await assertDead(spa, renewed);
  });

  test('a lost answer is not replaced twice, and not after a week', async () => {
    const twice = await spa.signIn(ada);
    const late = await spa.signIn(ada);
    await spa.renewed(twice.refresh_token);
    await spa.renewed(late.refresh_token);
    await moveIntoPast(hub, 2 * MINUTE_MS);
    const replaced = await spa.renewed(twice.refresh_token);
    await moveIntoPast(hub, 2 * MINUTE_MS);
    assertOAuthError(await spa.refresh(twice.refresh_token), 'invalid_grant');
    await assertDead(spa, replaced);
    await moveIntoPast(hub, 7 * 24 * 60 * MINUTE_MS);
    assertOAuthError(await spa.refresh(late.refresh_token), 'invalid_grant');
    assert.equal((await ada.send('GET', '/auth/get-session')).json(), null, 'a week ends a session that nobody uses');
    ada = await Browser.signedIn(hub, 'ada@example.com');
    bob = await Browser.signedIn(hub, 'bob@example.com');
  });

  test('codes grow old: a minute at an app, ten where a person carries them', async () => {
    const cli = App.cli(hub);
    const code = await spa.code(ada);
    const pasted = [await cli.code(ada), await cli.code(ada)];
    await moveIntoPast(hub, MINUTE_MS);
    assertOAuthError(await spa.exchange(code), 'invalid_grant');
    await moveIntoPast(hub, 8 * MINUTE_MS);
    assert.equal((await cli.exchange(pasted[0])).status, 200);
    await moveIntoPast(hub, MINUTE_MS);
    assertOAuthError(await cli.exchange(pasted[1]), 'invalid_grant');
  });

  test('a refresh token that nobody uses for a month is over', async () => {
    const [used, unused] = [await spa.signIn(ada), await spa.signIn(ada)];
    await moveIntoPast(hub, 29 * 24 * 60 * MINUTE_MS);
    const renewed = await spa.renewed(used.refresh_token);
    await moveIntoPast(hub, 2 * 24 * 60 * MINUTE_MS);
    assertOAuthError(await spa.refresh(unused.refresh_token), 'invalid_grant');
    await assertAlive(spa, renewed);
    ada = await Browser.signedIn(hub, 'ada@example.com');
    bob = await Browser.signedIn(hub, 'bob@example.com');
  });
});

describe('a thief', () => {
  test('who shows a stolen token after its successor was used ends that grant, and no other', async () => {
    const grant = await spa.signIn(ada);
    const sameBrowser = await spa.signIn(ada);
    const otherPerson = await spa.signIn(bob);
    const second = await spa.renewed(grant.refresh_token);
    const third = await spa.renewed(second.refresh_token);
    await moveIntoPast(hub, 2 * MINUTE_MS);
    const socket = await RoomSocket.open(await userOf(hub, third.access_token), 'stolen');
    const { code } = await closedWithin(socket, REVOCATION_REACHES_MS, async () =>
      assertOAuthError(await spa.refresh(grant.refresh_token), 'invalid_grant'),
    );
    assert.equal(code, 4401);
    for (const dead of [second, third]) await assertDead(spa, dead);
    await assertAlive(spa, sameBrowser);
    await assertAlive(spa, otherPerson);
  });

  test('with a revoked grant’s token gets nothing, and no chain leads out of it', async () => {
    const grant = await spa.signIn(ada);
    const renewed = await spa.renewed(grant.refresh_token);
    assert.equal((await spa.revoke(renewed.refresh_token)).status, 200);
    await assertDead(spa, renewed);
    assertOAuthError(await spa.refresh(grant.refresh_token), 'invalid_grant');
  });

  test('with a rotated token: revoking it ends the grant that it belongs to', async () => {
    const grant = await spa.signIn(ada);
    const bystander = await spa.signIn(ada);
    const renewed = await spa.renewed(grant.refresh_token);
    assert.equal((await spa.revoke(grant.refresh_token)).status, 200);
    await assertDead(spa, renewed);
    await assertAlive(spa, bystander);
  });

  test('with an invented token learns nothing', async () => {
    for (const token of ['x', 'A'.repeat(43), `${(await spa.signIn(ada)).refresh_token}A`]) {
      assertOAuthError(await spa.refresh(token), 'invalid_grant');
    }
  });
});

describe('revocations reach requests and open sockets within a second', () => {
  /** Two apps of one person, and one of somebody else's, each with an open socket. */
  async function people() {
    const open = async (browser) => {
      const grant = await spa.signIn(browser);
      const user = await userOf(hub, grant.access_token);
      return { grant, user, socket: await RoomSocket.open(user, 'revocations') };
    };
    return { laptop: await open(ada), phone: await open(ada), stranger: await open(bob) };
  }

  async function assertUntouched({ grant, user, socket }) {
    await socket.flush();
    assert.ok(socket.isOpen);
    assert.equal((await user.request('GET', user.roomPath('revocations'))).status, 200);
    await assertAlive(spa, grant);
    await socket.close(1000);
  }

  test('an app signs out: its own sockets close, nobody else’s', async () => {
    const { laptop, phone, stranger } = await people();
    const { code, reason } = await closedWithin(laptop.socket, REVOCATION_REACHES_MS, () =>
      spa.revoke(laptop.grant.refresh_token),
    );
    assert.equal(code, 4401);
    assert.equal(JSON.parse(reason).code, 'invalid_token');
    await assertDead(spa, laptop.grant);
    const late = new RoomSocket(laptop.user, 'revocations');
    assert.equal((await late.closing()).code, 4401);
    await assertUntouched(phone);
    await assertUntouched(stranger);
  });

  test('a code is used twice: the sockets of what it issued close', async () => {
    const code = await spa.code(ada);
    const grant = (await spa.exchange(code)).json();
    const socket = await RoomSocket.open(await userOf(hub, grant.access_token), 'revocations');
    const { code: closeCode } = await closedWithin(socket, REVOCATION_REACHES_MS, () => spa.exchange(code));
    assert.equal(closeCode, 4401);
  });

  test('a browser signs out: its apps stay', async () => {
    const browser = await Browser.signedIn(hub, 'ada@example.com');
    const grant = await spa.signIn(browser);
    const user = await userOf(hub, grant.access_token);
    const socket = await RoomSocket.open(user, 'revocations');
    assert.equal((await browser.postJson('/auth/sign-out', {})).status, 200);
    await assertUntouched({ grant, user, socket });
  });

  test('the operator disables a person beside the running hub: everything of that person ends', async () => {
    const { laptop, phone, stranger } = await people();
    const closings = Promise.all([laptop, phone].map(({ socket }) => socket.closing()));
    await hub.admin(['user', 'disable', '--email', 'ada@example.com']);
    const done = performance.now();
    for (const { code } of await closings) assert.equal(code, 4401);
    assert.ok(performance.now() - done < REVOCATION_REACHES_MS, `${performance.now() - done} ms`);
    for (const { grant } of [laptop, phone]) await assertDead(spa, grant);
    await eventually(
      'the cookie to be nobody’s',
      REVOCATION_REACHES_MS,
      () => ada.send('GET', '/auth/get-session'),
      (answer) => answer.json() === null,
    );
    assert.equal((await ada.send('GET', '/api/session')).status, 401);
    assert.equal((await new Browser(hub).signIn('ada@example.com')).status, 401);
    const { location } = await spa.ask(ada);
    assert.equal(location.pathname, '/sign-in');
    assert.equal((await sessionOf(hub, stranger.grant.access_token)).status, 200);
    await assertUntouched(stranger);
  });
});
