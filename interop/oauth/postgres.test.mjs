/**
 * Two hubs behind one origin that share a PostgreSQL database: one identity, the same races between two processes, and
 * revocations that reach the other one. Rooms are served by one of them.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Hub } from '../lib/hub.mjs';
import {
  App,
  Browser,
  CLIENTS,
  REVOCATION_REACHES_MS,
  assertAlive,
  assertDead,
  assertOAuthError,
  cookieName,
  eventually,
  oauthConfig,
  sessionOf,
  userOf,
} from '../lib/oauth.mjs';
import { Cluster } from '../lib/postgres.mjs';
import { RoomSocket } from '../lib/socket.mjs';

const secret = () => randomBytes(32).toString('base64');
const cluster = await Cluster.start();
after(() => cluster.dispose());
const env = { DATABASE_URL: cluster.url, AUTH_SECRET: secret(), ENCRYPTION_SECRETS: `1:${secret()}` };
const config = oauthConfig();
const first = await Hub.start({ config, env });
after(() => first.dispose());
const second = await Hub.start({ config, env });
after(() => second.dispose());
await first.addUser('ada@example.com', { admin: true });
await second.addUser('bob@example.com');

const here = new App(first, CLIENTS.spa);
const there = new App(second, CLIENTS.spa);
const ada = await Browser.signedIn(first, 'ada@example.com');
const bob = await Browser.signedIn(second, 'bob@example.com');

/** The same browser, as the load balancer sends it to the other process. */
function atOther(browser) {
  const other = new Browser(browser.hub === first ? second : first);
  other.setCookie(cookieName(other.hub), browser.session);
  return other;
}

describe('one identity', () => {
  test('session, code, token and keys of one process are those of the other', async () => {
    assert.equal((await atOther(ada).send('GET', '/auth/get-session')).json().user.email, 'ada@example.com');
    const code = await here.code(ada);
    const grant = await there.exchange(code);
    assert.equal(grant.status, 200, grant.text());
    const [left, right] = await Promise.all([first, second].map((hub) => sessionOf(hub, grant.json().access_token)));
    assert.equal(left.status, 200);
    assert.deepEqual(right.json(), left.json());
    const sets = await Promise.all([first, second].map((hub) => hub.requests.send('GET', '/auth/jwks')));
    assert.deepEqual(sets[1].json(), sets[0].json());
  });
});

describe('races between processes', () => {
  test('one code at both, twice each: at most one gets tokens, and these die', async () => {
    for (let round = 0; round < 5; round += 1) {
      const code = await here.code(ada);
      const answers = await Promise.all([here, there, here, there].map((app) => app.exchange(code)));
      const granted = answers.filter(({ status }) => status === 200);
      assert.ok(granted.length <= 1, `${granted.length} exchanges of one code succeeded`);
      for (const answer of answers.filter(({ status }) => status !== 200)) assertOAuthError(answer, 'invalid_grant');
      for (const answer of granted) {
        await assertDead(here, answer.json(), first);
        await assertDead(there, answer.json(), second);
      }
    }
  });

  test('one refresh token at both: the same answer from each, and it works', async () => {
    for (let round = 0; round < 10; round += 1) {
      const grant = await here.signIn(ada);
      const answers = await Promise.all([here, there, here, there].map((app) => app.renewed(grant.refresh_token)));
      for (const answer of answers) assert.deepEqual(answer, answers[0]);
      await assertAlive(there, answers[0]);
    }
  });

  test('one process is killed in the middle of a refresh: the other gives the answer', async () => {
    const grants = await Promise.all([1, 2, 3, 4].map(() => there.signIn(bob)));
    const lost = grants.map(({ refresh_token: token }) => there.refresh(token).catch(() => null));
    await second.kill();
    const answers = await Promise.all(lost);
    for (const [index, grant] of grants.entries()) {
      const renewed = await here.renewed(grant.refresh_token);
      if (answers[index]?.status === 200) assert.deepEqual(renewed, answers[index].json());
      await assertAlive(here, renewed);
    }
    await second.boot();
  });
});

describe('rooms', () => {
  /** The process that serves rooms, and the one that does not. */
  let serving;
  let refusing;

  before(async () => {
    const { access_token: token } = await here.signIn(ada);
    const { ownerId } = (await sessionOf(first, token)).json();
    const statuses = [];
    for (const hub of [first, second]) {
      const answer = await hub.requests.send('GET', `/api/owners/${ownerId}/rooms`, { token });
      statuses.push(answer.status);
      if (answer.status === 200) serving = hub;
      else refusing = { hub, answer };
    }
    assert.deepEqual(statuses.sort(), [200, 421]);
  });

  test('are served by one process; the other says by which', () => {
    assert.equal(refusing.answer.errorName(), 'WrongHub');
    assert.equal(typeof refusing.answer.json().error.url, 'string');
  });

  for (const [what, end] of [
    ['a sign-out of the app', ({ app, grant }) => app.revoke(grant.refresh_token)],
    ['a replayed code', ({ app, code }) => app.exchange(code)],
    ['the operator', ({ hub, email }) => hub.admin(['user', 'disable', '--email', email])],
  ]) {
    test(`${what} in the other process closes sockets within a second, and nobody else's`, async () => {
      const email = `${what.replaceAll(/[^a-z]/g, '-')}@example.com`;
      const { hub } = refusing;
      await hub.addUser(email);
      const app = new App(hub, CLIENTS.spa);
      const code = await app.code(await Browser.signedIn(hub, email));
      const grant = (await app.exchange(code)).json();
      const atServing = async (token) => RoomSocket.open(await userOf(serving, token), 'shared-database');
      const socket = await atServing(grant.access_token);
      const bystander = await here.signIn(ada);
      const other = await atServing(bystander.access_token);

      const closing = socket.closing();
      await end({ app, grant, code, hub, email });
      const begin = performance.now();
      assert.equal((await closing).code, 4401);
      assert.ok(performance.now() - begin < REVOCATION_REACHES_MS, `${performance.now() - begin} ms`);
      for (const process of [serving, hub]) {
        await eventually(
          'the token to be refused',
          REVOCATION_REACHES_MS,
          () => sessionOf(process, grant.access_token),
          ({ status }) => status === 401,
        );
      }
      await other.flush();
      assert.ok(other.isOpen);
      await other.close(1000);
      await assertAlive(here, bystander);
    });
  }
});
