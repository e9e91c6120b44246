/**
 * One running hub: the release binary on a data directory of its own. It is started, stopped, killed and restarted here
 * and nowhere else. The public origin is fixed, so that tokens outlive a restart on another port.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Requests } from './http.mjs';
import { Watch } from './waiting.mjs';

export const BINARY =
  process.env.EPICENTER_BIN ?? fileURLToPath(new URL('../../target/release/epicenter', import.meta.url));
const PUBLIC_ORIGIN = 'https://hub.example';

export const PASSWORD = 'correct horse battery staple 9177';
const START_DEADLINE_MS = 30_000;
const KEPT_LOG_BYTES = 256 * 1024;

/** Hubs that run now; none outlives the tests, not even tests that crash. */
const running = new Set();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export function requireBinary() {
  if (existsSync(BINARY)) return;
  throw new Error(`no hub at ${BINARY}\nhint: run \`cargo build --release -p epicenter-cli\`, or set EPICENTER_BIN`);
}

/** Runs the program to its end. */
export async function runProgram(args, { input = '', env = {}, cwd } = {}) {
  const child = spawn(BINARY, args, { cwd, env: hubEnvironment(env), stdio: ['pipe', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => (stdout += chunk));
  child.stderr.on('data', (chunk) => (stderr += chunk));
  // A program that refuses before it reads its input closes the pipe; the exit code tells that story.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exitCode, signal) => resolve(exitCode ?? signal));
  });
  return { code, stdout, stderr };
}

/** The caller's environment without anything that would configure the hub. */
function hubEnvironment(extra) {
  const configuring = /^(EPICENTER_(?!BIN)|API_PUBLIC_ORIGIN|DATABASE_URL|ENCRYPTION_SECRETS|AUTH_SECRET|BETTER_AUTH)/;
  const inherited = Object.entries(process.env).filter(([name]) => !configuring.test(name));
  return { ...Object.fromEntries(inherited), ...extra };
}

/** Somebody with an account and a token. */
export class User {
  constructor(hub, email, token, session) {
    this.hub = hub;
    this.email = email;
    this.token = token;
    this.id = session.user.id;
    this.ownerId = session.ownerId;
    this.keyring = session.keyring;
  }

  /** The path of one of this user's rooms (or of somebody else's: `owner`). */
  roomPath(room, { owner = this.ownerId, suffix = '' } = {}) {
    return `/api/owners/${encodeURIComponent(owner)}/rooms/${encodeURIComponent(room)}${suffix}`;
  }

  roomsPath() {
    return `/api/owners/${encodeURIComponent(this.ownerId)}/rooms`;
  }

  /** A request with this user's token. */
  request(method, requestPath, options = {}) {
    return this.hub.requests.send(method, requestPath, { token: this.token, ...options });
  }
}

export class Hub {
  #child = null;
  #log = '';
  #exit = null;

  #env;
  #listenPort;

  #keptLogBytes;

  constructor({ folder, publicOrigin, configPath, env = {}, port = 0, keptLogBytes = KEPT_LOG_BYTES }) {
    this.#env = env;
    this.#keptLogBytes = keptLogBytes;
    this.#listenPort = port;
    this.folder = folder;
    this.dataDir = path.join(folder, 'data');
    this.publicOrigin = publicOrigin;
    this.configPath = configPath;
    this.watch = new Watch();
  }

  /**
   * A new hub on an empty data directory. `config` is the text of its configuration file, `env` holds variables for the
   * program and for what runs beside it. A hub without a public origin is what it listens on.
   */
  static async start({ publicOrigin = PUBLIC_ORIGIN, config = '', env, port, keptLogBytes } = {}) {
    requireBinary();
    const folder = await mkdtemp(path.join(tmpdir(), 'epicenter-interop-'));
    let configPath;
    if (config !== '') {
      configPath = path.join(folder, 'hub.toml');
      await writeFile(configPath, config);
    }
    const hub = new Hub({ folder, publicOrigin, configPath, env, port, keptLogBytes });
    try {
      await hub.boot();
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
    return hub;
  }

  serveArguments() {
    const args = ['serve', '--listen', `127.0.0.1:${this.#listenPort}`, '--data-dir', this.dataDir];
    if (this.publicOrigin) args.push('--public-origin', this.publicOrigin);
    if (this.configPath) args.push('--config', this.configPath);
    return args;
  }

  /** Starts the program and waits for its one line on stdout. */
  async boot() {
    assert.equal(this.#child, null, 'the hub is already running');
    // The hub's own folder as working directory: a configuration file that lies around elsewhere does not count.
    const child = spawn(BINARY, this.serveArguments(), {
      cwd: this.folder,
      env: hubEnvironment(this.#env),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    running.add(child);
    this.watch.revive();
    let stdout = '';
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
      this.watch.changed();
    });
    child.stderr.on('data', (chunk) => {
      this.#log = (this.#log + chunk).slice(-this.#keptLogBytes);
    });
    this.#exit = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        this.#child = null;
        running.delete(child);
        this.watch.fail(new Error(`the hub ended (${code ?? signal})`));
        resolve({ code, signal });
      });
    });
    let line;
    try {
      line = await this.watch.until('the hub to listen', () => stdout.includes('\n') && stdout, START_DEADLINE_MS);
    } catch (error) {
      child.kill('SIGKILL');
      throw new Error(`${error.message}\n${this.log}`);
    }
    const match = /^listening on (http:\/\/127\.0\.0\.1:(\d+))\n$/.exec(line);
    assert.ok(match, `unexpected first line of stdout: ${JSON.stringify(line)}`);
    this.url = match[1];
    this.port = Number(match[2]);
    this.stdout = () => stdout;
    this.requests?.close();
    this.requests = new Requests(this.url);
  }

  get pid() {
    return this.#child?.pid;
  }

  get log() {
    return this.#log;
  }

  get origin() {
    return this.publicOrigin ?? this.url;
  }

  /** Sends a signal and waits for the end of the process. */
  async end(signal) {
    assert.ok(this.#child, `the hub is not running:\n${this.#log}`);
    this.#child.kill(signal);
    return this.#exit;
  }

  /** `kill -9`. */
  async kill() {
    await this.end('SIGKILL');
  }

  /** SIGTERM; a hub that does not end with 0 is an error. */
  async stop() {
    const { code, signal } = await this.end('SIGTERM');
    assert.equal(code, 0, `SIGTERM must end the hub with 0, not ${code ?? signal}:\n${this.#log}`);
  }

  async restart(signal) {
    if (signal === 'SIGKILL') await this.kill();
    else await this.stop();
    await this.boot();
  }

  /** Ends the hub after a test; one that died on its own in between is an error. */
  async dispose() {
    const alive = this.#child !== null;
    if (alive) await this.kill();
    this.requests?.close();
    await rm(this.folder, { recursive: true, force: true });
    assert.ok(alive, `the hub ended during the test:\n${this.#log}`);
  }

  async admin(args, input) {
    const { code, stdout, stderr } = await runProgram(['admin', ...args, '--data-dir', this.dataDir], {
      input,
      cwd: this.folder,
      env: this.#env,
    });
    assert.equal(code, 0, `epicenter admin ${args.join(' ')} ended with ${code}: ${stderr}`);
    return stdout;
  }

  /** An account without a token. The first one of a hub must be an admin. */
  async addUser(email, { admin = false } = {}) {
    const role = admin ? ['--admin'] : [];
    await this.admin(['user', 'add', '--email', email, '--password-stdin', ...role], `${PASSWORD}\n`);
  }

  async token(email, { ttl } = {}) {
    const args = ['token', '--email', email];
    if (ttl !== undefined) args.push('--ttl', String(ttl));
    if (this.publicOrigin) args.push('--public-origin', this.publicOrigin);
    return (await this.admin(args)).trim();
  }

  /** A new account, signed in. */
  async user(email, { admin = false, ttl = 3600 } = {}) {
    await this.addUser(email, { admin });
    const token = await this.token(email, { ttl });
    const answer = await this.requests.send('GET', '/api/session', { token });
    assert.equal(answer.status, 200, `GET /api/session: ${answer.text()}`);
    return new User(this, email, token, answer.json());
  }
}

/** A hub for one test file with its first user, ended when the file's tests are over. */
export async function hubWithUser(after, options) {
  const hub = await Hub.start(options);
  after(() => hub.dispose());
  const user = await hub.user('ada@example.com', { admin: true });
  return { hub, user };
}
