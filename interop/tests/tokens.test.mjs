/** Access tokens: what is in them, checked with jose, and every way of forging one. */
import assert from 'node:assert/strict';
import { createHmac, createPublicKey } from 'node:crypto';
import { after, describe, test } from 'node:test';
import * as jose from 'jose';
import { hubWithUser } from '../lib/hub.mjs';
import { RawUpgrade } from '../lib/raw-upgrade.mjs';
import { RoomSocket } from '../lib/socket.mjs';

const { hub, user } = await hubWithUser(after);
const bob = await hub.user('bob@example.com');
const jwks = (await hub.requests.send('GET', '/auth/jwks')).json();
const [header, payload, signature] = user.token.split('.');

const encode = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const decode = (part) => JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));

test('a token verifies with jose against the published keys and says who, for what and until when', async () => {
  const { payload: claims, protectedHeader } = await jose.jwtVerify(user.token, jose.createLocalJWKSet(jwks), {
    issuer: `${hub.origin}/auth`,
    audience: hub.origin,
    algorithms: ['ES256'],
    typ: 'at+jwt',
  });
  assert.ok(jwks.keys.some(({ kid }) => kid === protectedHeader.kid));
  assert.equal(claims.sub, user.id);
  assert.equal(claims.client_id ?? claims.azp, 'epicenter-cli');
  assert.equal(claims.exp - claims.iat, 3600);
  const scopes = claims.scope.split(' ');
  for (const scope of ['rooms.read', 'rooms.write', 'keyring', 'ai', 'account']) assert.ok(scopes.includes(scope), scope);
  for (const name of ['jti', 'gid']) assert.ok(claims[name], name);
  const again = jose.decodeJwt(await hub.token(user.email));
  assert.notEqual(again.jti, claims.jti);
  assert.notEqual(again.gid, claims.gid);
  assert.equal(again.exp - again.iat, 600);
});

test('the published keys are P-256 signing keys without their private part', () => {
  assert.ok(jwks.keys.length > 0);
  for (const key of jwks.keys) {
    assert.deepEqual([key.kty, key.crv, key.alg], ['EC', 'P-256', 'ES256']);
    assert.deepEqual(
      Object.keys(key).filter((name) => !['kty', 'crv', 'alg', 'x', 'y', 'kid', 'use', 'key_ops'].includes(name)),
      [],
    );
  }
});

test('the session names user, owner and keyring, and is never cached', async () => {
  const answer = await user.request('GET', '/api/session');
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['cache-control'], 'no-store');
  const session = answer.json();
  assert.deepEqual(session.user, { id: user.id, email: user.email });
  assert.equal(session.ownerId, user.id);
  assert.ok(session.keyring.length > 0);
  for (const { version, keyBytesBase64 } of session.keyring) {
    assert.ok(Number.isInteger(version));
    assert.equal(Buffer.from(keyBytesBase64, 'base64').length, 32);
  }
  assert.notDeepEqual(bob.keyring, user.keyring, 'owners have keys of their own');
});

test('keys, tokens and keyring outlive kill -9', async () => {
  await hub.restart('SIGKILL');
  const answer = await user.request('GET', '/api/session');
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.json().keyring, user.keyring);
  assert.deepEqual((await hub.requests.send('GET', '/auth/jwks')).json(), jwks);
});

test('an account made while the hub runs works at once, and so does its token', async () => {
  const carol = await hub.user('carol@example.com');
  assert.equal((await carol.request('GET', carol.roomPath('new'))).status, 200);
});

/** A short-lived token and a socket that it opened; a token that ended before it was used is made again, for longer. */
async function openWithShortToken(room) {
  for (let ttl = 2; ; ttl *= 2) {
    const token = await hub.token(user.email, { ttl });
    const { exp } = jose.decodeJwt(token);
    try {
      return { token, exp, socket: await RoomSocket.open(user, room, { token }) };
    } catch (error) {
      if (Date.now() / 1000 < exp) throw error;
    }
  }
}

test('a token ends when it says, for requests and upgrades; an open socket goes on', async () => {
  const { token, exp, socket } = await openWithShortToken('expiring');
  // One answer after the other until the clock has passed the end: the first refusal must not come earlier, and nothing
  // that was asked for later is granted, however long an answer takes.
  let answer;
  for (;;) {
    const asked = Date.now() / 1000;
    answer = await hub.requests.send('GET', '/api/session', { token });
    if (answer.status !== 200) break;
    assert.ok(asked < exp + 0.05, `granted ${asked - exp} s after the end`);
  }
  assert.equal(answer.status, 401);
  assert.equal(answer.errorName(), 'InvalidToken');
  assert.ok(Date.now() / 1000 >= exp - 0.05);
  const late = new RoomSocket(user, 'expiring', { token });
  assert.equal((await late.closing()).code, 4401);
  await socket.flush();
  assert.ok(socket.isOpen, 'a token is checked at the upgrade only');
});

describe('forged tokens are refused everywhere', () => {
  const published = jwks.keys[0];
  const coordinates = [published.x, published.y].map((part) => Buffer.from(part, 'base64url'));
  const point = Buffer.concat([Buffer.from([4]), ...coordinates]);
  const asPem = createPublicKey({ key: published, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
  const asDer = createPublicKey({ key: published, format: 'jwk' }).export({ type: 'spki', format: 'der' });
  const hs256 = (secret, head = {}) => {
    const signed = `${encode({ alg: 'HS256', typ: 'at+jwt', kid: decode(header).kid, ...head })}.${payload}`;
    return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
  };
  const withOwnKey = async (head) => {
    const { privateKey, publicKey } = await jose.generateKeyPair('ES256', { extractable: true });
    const jwk = await jose.exportJWK(publicKey);
    return new jose.SignJWT(decode(payload))
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', ...(typeof head === 'function' ? head(jwk) : head) })
      .sign(privateKey);
  };
  const kid = decode(header).kid;
  const flip = (part, at) => {
    const bytes = Buffer.from(part, 'base64url');
    bytes[at] ^= 1;
    return bytes.toString('base64url');
  };
  const asDerSignature = () => {
    const raw = Buffer.from(signature, 'base64url');
    const integer = (bytes) => {
      const positive = bytes[0] & 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes;
      return Buffer.concat([Buffer.from([2, positive.length]), positive]);
    };
    const body = Buffer.concat([integer(raw.subarray(0, 32)), integer(raw.subarray(32))]);
    return Buffer.concat([Buffer.from([0x30, body.length]), body]).toString('base64url');
  };
  const forgeries = {
    'another subject under the old signature': () => `${header}.${encode({ ...decode(payload), sub: bob.id })}.${signature}`,
    'a later end under the old signature': () =>
      `${header}.${encode({ ...decode(payload), exp: decode(payload).exp + 3600 })}.${signature}`,
    'another header under the old signature': () => `${encode({ ...decode(header), extra: 1 })}.${payload}.${signature}`,
    'a flipped bit in the first half of the signature': () => `${header}.${payload}.${flip(signature, 0)}`,
    'a flipped bit in the second half': () => `${header}.${payload}.${flip(signature, 40)}`,
    'a signature cut short': () => `${header}.${payload}.${signature.slice(0, -4)}`,
    'a signature of zeros': () => `${header}.${payload}.${Buffer.alloc(64).toString('base64url')}`,
    'a signature in DER': () => `${header}.${payload}.${asDerSignature()}`,
    'no signature': () => `${header}.${payload}.`,
    'two parts': () => `${header}.${payload}`,
    'four parts': () => `${user.token}.${signature}`,
    'an algorithm of none': () => `${encode({ alg: 'none', typ: 'at+jwt', kid })}.${payload}.`,
    'an algorithm of none with a signature': () => `${encode({ alg: 'none', typ: 'at+jwt', kid })}.${payload}.${signature}`,
    'an algorithm of nOnE': () => `${encode({ alg: 'nOnE', typ: 'at+jwt', kid })}.${payload}.`,
    'no algorithm': () => `${encode({ typ: 'at+jwt', kid })}.${payload}.${signature}`,
    'HS256 with the published key as JSON': () => hs256(JSON.stringify(published)),
    'HS256 with the published key as PEM': () => hs256(asPem),
    'HS256 with the published key as DER': () => hs256(asDer),
    'HS256 with the published point': () => hs256(point),
    'HS256 with the point without its first byte': () => hs256(point.subarray(1)),
    'an unknown kid': () => withOwnKey({ kid: 'somebody-else' }),
    "the hub's kid with another key": () => withOwnKey({ kid }),
    'no kid': () => withOwnKey({}),
    'a key of its own in the header': () => withOwnKey((jwk) => ({ kid, jwk })),
    'a key set of its own named in the header': () => withOwnKey({ kid, jku: 'http://127.0.0.1:1/jwks' }),
    'RS256': () => `${encode({ alg: 'RS256', typ: 'at+jwt', kid })}.${payload}.${signature}`,
    'not a token': () => 'nonsense',
    'padding': () => `${header}.${payload}.${signature}==`,
  };
  for (const [what, forge] of Object.entries(forgeries)) {
    test(what, async () => {
      const token = await forge();
      const paths = ['/api/session', user.roomPath('forged'), user.roomsPath()];
      for (const path of paths) {
        const answer = await hub.requests.send('GET', path, { token });
        assert.equal(answer.status, 401, `${path}: ${answer.text()}`);
        assert.equal(answer.errorName(), 'InvalidToken');
        assert.match(answer.headers['www-authenticate'], /^Bearer\b.*error="invalid_token"/);
      }
      const raw = await RawUpgrade.open(hub, `${user.roomPath('forged')}?deviceId=a`, {
        'Sec-WebSocket-Protocol': `epicenter, bearer.${token}`,
      });
      assert.equal(raw.headers['sec-websocket-protocol'], 'epicenter');
      const { code, reason } = await raw.closing();
      assert.equal(code, 4401);
      assert.equal(JSON.parse(reason).name, 'InvalidToken');
      raw.end();
    });
  }

  test('a token for another origin', async () => {
    const token = (
      await hub.admin(['token', '--email', user.email, '--public-origin', 'https://other.example'])
    ).trim();
    assert.equal(jose.decodeJwt(token).iss, 'https://other.example/auth');
    assert.equal((await hub.requests.send('GET', '/api/session', { token })).status, 401);
  });
});
