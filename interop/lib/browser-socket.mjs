/**
 * The WebSocket that Node shares with browsers (undici's), with a browser's rules: no headers of one's own, a handshake
 * fails when offered subprotocols are not answered, and a failed handshake tells nothing but 1006. Node before 22 hides it
 * behind a flag, so every probe runs in a child process.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const PROBE = fileURLToPath(import.meta.url);

/**
 * For each `{url, protocols}`: what a browser's page would see, `{opened, protocol, code, reason}`. With `closeWhenOpen` the
 * page closes the socket itself.
 */
export async function asBrowser(attempts) {
  const flags = typeof WebSocket === 'undefined' ? ['--experimental-websocket', '--no-warnings'] : [];
  const child = spawn(process.execPath, [...flags, PROBE], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stdin.end(JSON.stringify(attempts));
  const code = await new Promise((resolve) => child.once('close', resolve));
  if (code !== 0) throw new Error(`the browser-like client ended with ${code}`);
  return JSON.parse(output);
}

function attempt({ url, protocols, closeWhenOpen }) {
  return new Promise((resolve) => {
    const seen = { opened: false, protocol: '' };
    const socket = new WebSocket(url, protocols);
    socket.addEventListener('open', () => {
      seen.opened = true;
      seen.protocol = socket.protocol;
      if (closeWhenOpen) socket.close(1000, 'done');
    });
    socket.addEventListener('close', (event) => resolve({ ...seen, code: event.code, reason: event.reason }));
  });
}

if (process.argv[1] === PROBE) {
  let input = '';
  for await (const chunk of process.stdin) input += chunk;
  const results = await Promise.all(JSON.parse(input).map(attempt));
  process.stdout.write(JSON.stringify(results));
}
