/**
 * A private PostgreSQL cluster for one test file: a folder of its own, a Unix socket and a loopback port of its own. The
 * programs refuse to run as root, so root lends them another user.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { chown, mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Watch } from './waiting.mjs';

const DISTRIBUTION = '/usr/lib/postgresql';
const START_ATTEMPTS = 5;

/** The folder of `initdb` and `postgres`, or null where PostgreSQL is not installed. */
export function findPostgres() {
  const versions = existsSync(DISTRIBUTION) ? readdirSync(DISTRIBUTION).sort((left, right) => right - left) : [];
  const folders = [...versions.map((version) => `${DISTRIBUTION}/${version}/bin`), ...process.env.PATH.split(':')];
  return folders.find((folder) => existsSync(`${folder}/initdb`) && existsSync(`${folder}/postgres`)) ?? null;
}

function unprivileged() {
  if (process.getuid() !== 0) return {};
  const id = (flag) => Number(spawnSync('id', [flag, 'postgres']).stdout) || 65_534;
  return { uid: id('-u'), gid: id('-g') };
}

async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export class Cluster {
  #child;
  #folder;

  /** Starts one, and resolves when it takes connections. */
  static async start() {
    const bin = findPostgres();
    if (!bin) throw new Error('PostgreSQL is not installed\nhint: install the package postgresql');
    const cluster = new Cluster();
    const user = unprivileged();
    cluster.#folder = await mkdtemp(path.join(tmpdir(), 'epicenter-postgres-'));
    if (user.uid !== undefined) await chown(cluster.#folder, user.uid, user.gid);
    const data = path.join(cluster.#folder, 'data');
    const made = spawnSync(`${bin}/initdb`, ['-D', data, '-U', 'epicenter', '-A', 'trust', '-E', 'UTF8', '--no-sync', '--no-instructions'], {
      ...user,
      cwd: cluster.#folder,
      encoding: 'utf8',
    });
    if (made.status !== 0) throw new Error(`initdb: ${made.error ?? made.stderr}`);
    // Somebody else may take the port between the look and the start.
    let failure;
    for (let attempts = 0; attempts < START_ATTEMPTS; attempts += 1) {
      failure = await cluster.#launch(bin, data, user).then(() => null, (error) => error);
      if (!failure) return cluster;
      if (!/could not bind/.test(failure.message)) break;
    }
    await rm(cluster.#folder, { recursive: true, force: true });
    throw failure;
  }

  async #launch(bin, data, user) {
    const port = await freePort();
    const settings = { listen_addresses: '127.0.0.1', port, unix_socket_directories: this.#folder };
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const watch = new Watch();
    let log = '';
    // Whatever becomes of the test, the server goes with it.
    const server = ['--pdeathsig', 'KILL', `${bin}/postgres`, '-D', data, ...flags];
    this.#child = spawn('setpriv', server, {
      ...user,
      cwd: this.#folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child.stderr.on('data', (chunk) => {
      log += chunk;
      watch.changed();
    });
    this.#child.once('close', (code) => watch.fail(new Error(`postgres ended with ${code}: ${log}`)));
    await watch.until('the database to take connections', () => log.includes('ready to accept connections'));
    this.url = `postgres://epicenter@127.0.0.1:${port}/postgres`;
  }

  /** Ends it at once; nothing of it stays. */
  async dispose() {
    const ended = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.kill('SIGQUIT');
    await ended;
    await rm(this.#folder, { recursive: true, force: true });
  }
}
