/**
 * OAuth on the wire: a browser with a cookie jar and apps that ask for tokens, byte by byte, for what a correct client
 * library would never send. Nothing is followed: a redirect is an answer like any other.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { PASSWORD, User } from './hub.mjs';

export const base64url = (bytes) => Buffer.from(bytes).toString('base64url');
export const sha256 = (text) => createHash('sha256').update(text).digest();

const SITE_SECRET = 'site-secret-4f0b9a1c6d7e8f90a1b2c3d4e5f60718';
const NOTES_SECRET = 'notes-secret-90a1b2c3d4e5f607184f0b9a1c6d7e8f';
const OPENID_SCOPES = 'openid profile email offline_access';

/** Apps of a test hub: two public ones of the operator's, a server of the operator's, and somebody else's server. */
export const CLIENTS = {
  spa: { id: 'spa', redirectUri: 'https://spa.example/callback' },
  other: { id: 'other-spa', redirectUri: 'https://other.example/callback' },
  site: { id: 'site', redirectUri: 'https://site.example/callback', secret: SITE_SECRET },
  notes: { id: 'notes', redirectUri: 'https://notes.example/callback', secret: NOTES_SECRET },
};

const clientTable = ({ id, redirectUri, secret }, type, trusted) => `
[[oauth.clients]]
id = "${id}"
name = "The app ${id}"
type = "${type}"
redirect_uris = ["${redirectUri}"]
trusted = ${trusted}
${secret ? `secret_sha256 = "${sha256(secret).toString('hex')}"` : ''}
`;

/** The configuration file of a test hub; `head` holds keys of the top level. */
export function oauthConfig({ rateLimits = false, head = '' } = {}) {
  return [
    head,
    `[rate_limits]\nenabled = ${rateLimits}\n`,
    '[oauth]\nfirst_party_apps = true\n',
    clientTable(CLIENTS.spa, 'user-agent-based', true),
    clientTable(CLIENTS.other, 'user-agent-based', true),
    clientTable(CLIENTS.site, 'web', true),
    clientTable(CLIENTS.notes, 'web', false),
  ].join('\n');
}

/** PKCE with S256: what is kept and what is sent. */
export function pkce() {
  const verifier = base64url(randomBytes(32));
  return { verifier, challenge: base64url(sha256(verifier)) };
}

/** The name of the session cookie on this hub. */
export const cookieName = (hub) => (hub.origin.startsWith('https:') ? '__Host-epicenter_session' : 'epicenter_session');

/** A person's browser: one cookie jar for the hub. */
export class Browser {
  #cookies = new Map();

  constructor(hub) {
    this.hub = hub;
  }

  /** A browser in which somebody has signed in. */
  static async signedIn(hub, email, password = PASSWORD) {
    const browser = new Browser(hub);
    const answer = await browser.signIn(email, password);
    assert.equal(answer.status, 200, `sign-in of ${email}: ${answer.text()}`);
    browser.user = answer.json().user;
    assert.ok(browser.session, 'signing in sets the session cookie');
    return browser;
  }

  get session() {
    return this.#cookies.get(cookieName(this.hub));
  }

  setCookie(name, value) {
    this.#cookies.set(name, value);
  }

  get cookieHeader() {
    return [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  }

  async send(method, path, { headers = {}, body } = {}) {
    const cookie = this.#cookies.size > 0 ? { Cookie: this.cookieHeader } : {};
    const answer = await this.hub.requests.send(method, path, { headers: { ...cookie, ...headers }, body });
    for (const line of answer.headers['set-cookie'] ?? []) this.#keep(line);
    return answer;
  }

  #keep(line) {
    const [pair, ...attributes] = line.split(';').map((part) => part.trim());
    const at = pair.indexOf('=');
    const isGone = attributes.some((attribute) => /^max-age=0$/i.test(attribute));
    if (isGone) this.#cookies.delete(pair.slice(0, at));
    else this.#cookies.set(pair.slice(0, at), pair.slice(at + 1));
  }

  /** A script of the hub's own page posts JSON. */
  postJson(path, value, headers = {}) {
    return this.send('POST', path, {
      headers: { 'Content-Type': 'application/json', Origin: this.hub.origin, ...headers },
      body: Buffer.from(JSON.stringify(value)),
    });
  }

  /** A page of the hub's own posts a form. */
  postForm(path, fields, headers = {}) {
    return this.send('POST', path, {
      headers: { 'Content-Type': 'application/x-www-form-urlencoded', Origin: this.hub.origin, ...headers },
      body: formBody(fields),
    });
  }

  signIn(email, password = PASSWORD, more = {}) {
    return this.postJson('/auth/sign-in/email', { email, password, ...more });
  }

  /** The form of a page in which a button is labelled so, as it would be sent; fields that are hidden go along. */
  async form(pagePath, button) {
    const page = await this.send('GET', pagePath);
    assert.equal(page.status, 200, `${pagePath}: ${page.status} ${page.text()}`);
    const form = formWithButton(page.text(), button);
    assert.ok(form, `${pagePath} has no button ${button}: ${page.text()}`);
    return { action: form.action ?? pagePath, fields: form.fields };
  }

  /** Presses a button of a page. */
  async press(pagePath, button) {
    const { action, fields } = await this.form(pagePath, button);
    return this.postForm(action, fields);
  }
}

export const ALLOW = /^\s*allow\s*$/i;
export const DENY = /^\s*do not allow\s*$/i;
export const CONTINUE = /^\s*continue/i;

const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };
const unescapeHtml = (text) => text.replace(/&(amp|lt|gt|quot|#39);/g, (_, name) => ENTITIES[name]);

function attributesOf(tag) {
  const pairs = [...tag.matchAll(/([a-z-]+)(?:="([^"]*)")?/gi)].slice(1);
  return Object.fromEntries(pairs.map(([, name, value = '']) => [name.toLowerCase(), unescapeHtml(value)]));
}

function formWithButton(html, wanted) {
  for (const [, head, inner] of html.matchAll(/<form\b([^>]*)>([\s\S]*?)<\/form>/gi)) {
    const buttons = [...inner.matchAll(/(<button\b[^>]*>)([\s\S]*?)<\/button>/gi)];
    const pressed = buttons.find(([, tag, label]) => wanted.test(label.replaceAll(/<[^>]*>/g, '')));
    if (!pressed) continue;
    const inputs = [...inner.matchAll(/<input\b[^>]*>/gi)].map(([tag]) => attributesOf(tag));
    const fields = inputs.filter(({ name }) => name).map(({ name, value = '' }) => [name, value]);
    const button = attributesOf(pressed[1]);
    if (button.name) fields.push([button.name, button.value ?? '']);
    return { action: button.formaction ?? attributesOf(`form ${head}`).action, fields };
  }
  return null;
}

const formBody = (fields) => Buffer.from(new URLSearchParams(fields).toString());

/** Where an answer of the authorization endpoint sends the browser, as a whole URL; null when it sends it nowhere. */
export const locationOf = (hub, answer) =>
  answer.headers.location === undefined ? null : new URL(answer.headers.location, hub.origin);

/** An app: one client on one machine. */
export class App {
  constructor(hub, { id, redirectUri, secret }) {
    this.hub = hub;
    this.id = id;
    this.redirectUri = redirectUri;
    this.secret = secret;
  }

  /** The built-in client of the command line. */
  static cli(hub) {
    return new App(hub, { id: 'epicenter-cli', redirectUri: `${hub.origin}/auth/cli-callback` });
  }

  /** The path of an authorization request; a parameter that is null is left out, a list is repeated. */
  authorizePath({ challenge, ...overrides }) {
    const parameters = {
      response_type: 'code',
      client_id: this.id,
      redirect_uri: this.redirectUri,
      scope: OPENID_SCOPES,
      state: 'a-state',
      code_challenge: challenge,
      code_challenge_method: 'S256',
      resource: this.hub.origin,
      ...overrides,
    };
    const pairs = Object.entries(parameters).flatMap(([name, value]) =>
      [value].flat().filter((one) => one !== null && one !== undefined).map((one) => [name, one]),
    );
    return `/auth/oauth2/authorize?${new URLSearchParams(pairs)}`;
  }

  /** Asks for a code; the raw answer and where it leads. */
  async ask(browser, overrides = {}) {
    const { verifier, challenge } = pkce();
    const answer = await browser.send('GET', this.authorizePath({ challenge, ...overrides }));
    return { answer, location: locationOf(this.hub, answer), verifier };
  }

  /** A code and the verifier that redeems it. */
  async code(browser, overrides) {
    const { answer, location, verifier } = await this.ask(browser, overrides);
    assert.equal(answer.status, 302, `authorize: ${answer.status} ${answer.text()}`);
    const code = location.searchParams.get('code');
    assert.ok(code, `authorize leads to ${location}`);
    return { code, verifier };
  }

  /** A form to an endpoint below `/auth/oauth2/`; the client names itself in it unless a field of that name says otherwise. */
  post(endpoint, fields, headers = {}) {
    const own = { client_id: this.id, ...(this.secret ? { client_secret: this.secret } : {}) };
    const pairs = Object.entries({ ...own, ...fields }).filter(([, value]) => value !== null && value !== undefined);
    return this.hub.requests.send('POST', `/auth/oauth2/${endpoint}`, {
      headers: { 'Content-Type': 'application/x-www-form-urlencoded', ...headers },
      body: formBody(pairs),
    });
  }

  exchange({ code, verifier }, overrides = {}) {
    return this.post('token', {
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      redirect_uri: this.redirectUri,
      resource: this.hub.origin,
      ...overrides,
    });
  }

  refresh(refreshToken, overrides = {}) {
    return this.post('token', { grant_type: 'refresh_token', refresh_token: refreshToken, ...overrides });
  }

  revoke(token, overrides = {}) {
    return this.post('revoke', { token, ...overrides });
  }

  /** The whole way: a grant, with the person it belongs to. */
  async signIn(browser, overrides) {
    const answer = await this.exchange(await this.code(browser, overrides));
    assert.equal(answer.status, 200, `exchange: ${answer.status} ${answer.text()}`);
    return answer.json();
  }

  /** Refreshes; anything but new tokens is an error. */
  async renewed(refreshToken) {
    const answer = await this.refresh(refreshToken);
    assert.equal(answer.status, 200, `refresh: ${answer.status} ${answer.text()}`);
    return answer.json();
  }
}

/** `GET /api/session` with a token. */
export const sessionOf = (hub, token) => hub.requests.send('GET', '/api/session', { token });

/** The person behind a token, as the room suites know people. */
export async function userOf(hub, token) {
  const answer = await sessionOf(hub, token);
  assert.equal(answer.status, 200, answer.text());
  const session = answer.json();
  return new User(hub, session.user.email, token, session);
}

/** An OAuth error of this name with this status, never cached. */
export function assertOAuthError(answer, error, status = 400) {
  assert.equal(answer.status, status, `${error} expected: ${answer.status} ${answer.text()}`);
  assert.equal(answer.json().error, error, answer.text());
  assert.equal(answer.headers['cache-control'], 'no-store');
}

/** The grant still gives tokens that the API takes; returns the renewed grant. */
export async function assertAlive(app, grant) {
  const renewed = await app.renewed(grant.refresh_token);
  const answer = await sessionOf(app.hub, renewed.access_token);
  assert.equal(answer.status, 200, answer.text());
  return renewed;
}

/**
 * Asks again and again, one answer after the other, until the condition holds. It must hold for whatever is asked after
 * the deadline; the answer to an earlier question may be an old one, however late it is read.
 */
export async function eventually(what, deadlineMs, ask, holds) {
  const begin = performance.now();
  for (;;) {
    const elapsed = performance.now() - begin;
    const answer = await ask();
    if (holds(answer)) return;
    assert.ok(elapsed < deadlineMs, `${what}: not within ${deadlineMs} ms, last ${answer.status} ${answer.text?.()}`);
  }
}

/** How long a revocation may take to reach every request of every process. */
export const REVOCATION_REACHES_MS = 1000;

/** Neither refresh token nor access token of the grant is good for anything, at the latest after a second. */
export async function assertDead(app, grant, hub = app.hub) {
  if (grant.refresh_token) assertOAuthError(await app.refresh(grant.refresh_token), 'invalid_grant');
  await eventually(
    'the access token to be refused',
    REVOCATION_REACHES_MS,
    () => sessionOf(hub, grant.access_token),
    ({ status }) => status === 401,
  );
}
