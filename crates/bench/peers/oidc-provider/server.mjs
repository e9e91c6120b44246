/**
 * npm's oidc-provider as a server under test: one public client, PKCE, ES256, access tokens as JWTs, rotating refresh
 * tokens. `server.mjs FOLDER STORE`: `sqlite` keeps everything in a database below the folder that is synced at every
 * write, as the hub's is; `memory` keeps it in a map, where nothing outlives the process.
 *
 * It signs its one person in by itself and prints one line: address and session cookie.
 */
import { generateKeyPairSync } from 'node:crypto';
import http from 'node:http';
import path from 'node:path';
import Database from 'better-sqlite3';
import Provider from 'oidc-provider';

const [, , folder, store] = process.argv;
const CLIENT = 'bench';
const REDIRECT_URI = 'https://bench.example/callback';
const SCOPE = 'openid offline_access';

/** One row an object, as the project's own example adapters keep them; every write is a transaction of its own. */
function sqliteAdapter(file) {
  const database = new Database(file);
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL');
  database.exec(`
    CREATE TABLE object (
      model TEXT NOT NULL, id TEXT NOT NULL, payload TEXT NOT NULL, grant_id TEXT, uid TEXT, consumed INTEGER,
      PRIMARY KEY (model, id)
    ) WITHOUT ROWID;
    CREATE INDEX object_by_grant ON object (grant_id);
    CREATE INDEX object_by_uid ON object (uid);
  `);
  const upsert = database.prepare(
    'INSERT OR REPLACE INTO object (model, id, payload, grant_id, uid) VALUES (?, ?, ?, ?, ?)',
  );
  const byId = database.prepare('SELECT payload, consumed FROM object WHERE model = ? AND id = ?');
  const byUid = database.prepare('SELECT payload, consumed FROM object WHERE model = ? AND uid = ?');
  const consume = database.prepare('UPDATE object SET consumed = ? WHERE model = ? AND id = ?');
  const destroy = database.prepare('DELETE FROM object WHERE model = ? AND id = ?');
  const revoke = database.prepare('DELETE FROM object WHERE grant_id = ?');
  const parse = (row) => row && { ...JSON.parse(row.payload), ...(row.consumed ? { consumed: row.consumed } : {}) };
  return class {
    constructor(model) {
      this.model = model;
    }

    async upsert(id, payload) {
      upsert.run(this.model, id, JSON.stringify(payload), payload.grantId ?? null, payload.uid ?? null);
    }

    async find(id) {
      return parse(byId.get(this.model, id));
    }

    async findByUid(uid) {
      return parse(byUid.get(this.model, uid));
    }

    async findByUserCode() {
      return undefined;
    }

    async consume(id) {
      consume.run(Math.floor(Date.now() / 1000), this.model, id);
    }

    async destroy(id) {
      destroy.run(this.model, id);
    }

    async revokeByGrantId(grantId) {
      revoke.run(grantId);
    }
  };
}

/** The provider's own map forgets all but a thousand objects; this one forgets nothing. */
function memoryAdapter() {
  const objects = new Map();
  const sessions = new Map();
  return class {
    constructor(model) {
      this.model = model;
    }

    key(id) {
      return `${this.model}:${id}`;
    }

    async upsert(id, payload) {
      if (payload.uid) sessions.set(payload.uid, id);
      objects.set(this.key(id), payload);
    }

    async find(id) {
      return objects.get(this.key(id));
    }

    async findByUid(uid) {
      return this.find(sessions.get(uid));
    }

    async findByUserCode() {
      return undefined;
    }

    async consume(id) {
      objects.get(this.key(id)).consumed = Math.floor(Date.now() / 1000);
    }

    async destroy(id) {
      objects.delete(this.key(id));
    }

    async revokeByGrantId(grantId) {
      for (const [key, { grantId: own }] of objects) if (own === grantId) objects.delete(key);
    }
  };
}

const server = http.createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address();
const origin = `http://127.0.0.1:${port}`;
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

const provider = new Provider(origin, {
  adapter: store === 'sqlite' ? sqliteAdapter(path.join(folder, 'provider.sqlite')) : memoryAdapter(),
  clients: [
    {
      client_id: CLIENT,
      redirect_uris: [REDIRECT_URI],
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'refresh_token'],
      id_token_signed_response_alg: 'ES256',
    },
  ],
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256' }] },
  cookies: { keys: ['a key of the benchmark'] },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  issueRefreshToken: async () => true,
  ttl: { AuthorizationCode: 600, AccessToken: 600, IdToken: 600, RefreshToken: 2_592_000, Session: 604_800, Grant: 31_536_000 },
  features: {
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => origin,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: SCOPE,
        audience: origin,
        accessTokenFormat: 'jwt',
        accessTokenTTL: 600,
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
  findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  // One grant a client, made at its first request: nobody is asked.
  loadExistingGrant: async (context) => {
    const { client, session } = context.oidc;
    const known = session.grantIdFor(client.clientId);
    if (known) return context.oidc.provider.Grant.find(known);
    const grant = new context.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope(SCOPE);
    grant.addResourceScope(origin, SCOPE);
    await grant.save();
    return grant;
  },
  interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
});

const answer = provider.callback();
server.on('request', (request, response) => {
  if (!request.url.startsWith('/interaction/')) return answer(request, response);
  const result = { login: { accountId: 'ada' } };
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
});

/** Signs in as a browser would, by following redirects with a cookie jar until one leaves the server. */
async function sessionCookie() {
  const cookies = new Map();
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: CLIENT,
    redirect_uri: REDIRECT_URI,
    scope: SCOPE,
    code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
    code_challenge_method: 'S256',
  });
  let url = `${origin}/auth?${query}`;
  while (url.startsWith(origin)) {
    const Cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const step = await fetch(url, { redirect: 'manual', headers: { Cookie } });
    for (const line of step.headers.getSetCookie()) {
      const [pair] = line.split(';');
      const at = pair.indexOf('=');
      if (pair.length > at + 1) cookies.set(pair.slice(0, at), pair.slice(at + 1));
      else cookies.delete(pair.slice(0, at));
    }
    const location = step.headers.get('location');
    if (!location) throw new Error(`sign-in stopped at ${url}: ${step.status} ${await step.text()}`);
    url = new URL(location, origin).href;
  }
  if (!new URL(url).searchParams.get('code')) throw new Error(`sign-in ended at ${url}`);
  return [...cookies].filter(([name]) => name.startsWith('_session')).map(([name, value]) => `${name}=${value}`).join('; ');
}

console.log(`listening on 127.0.0.1:${port} with ${await sessionCookie()}`);
