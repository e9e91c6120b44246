/**
 * `npm test`: the whole suite against one binary (`EPICENTER_BIN`, else the release build). What is missing is named with
 * the command that makes it. Arguments narrow the run to files whose name contains one of them: `npm test -- rooms tokens`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

function stop(problem, hint) {
  console.error(`error: ${problem}\nhint: ${hint}`);
  process.exit(1);
}

for (const name of Object.keys(JSON.parse(readFileSync(here('package.json'), 'utf8')).dependencies)) {
  if (!existsSync(here(`node_modules/${name}`))) stop(`the package ${name} is not installed`, 'run `npm ci` in interop/');
}

const { BINARY, requireBinary } = await import('./lib/hub.mjs');
try {
  requireBinary();
} catch (error) {
  const [problem, hint] = error.message.split('\nhint: ');
  stop(problem, hint);
}

function run(args) {
  const { status, signal } = spawnSync(process.execPath, args, { stdio: 'inherit', cwd: here('.') });
  return status ?? signal;
}

// The longest first, so that two at a time end together.
const LONGEST = ['histories', 'delivery', 'vectors'];
const rank = (file) => {
  const index = LONGEST.findIndex((name) => file.includes(name));
  return index === -1 ? LONGEST.length : index;
};
const inFolder = (folder) =>
  existsSync(here(folder)) ? readdirSync(here(folder)).map((file) => `${folder}/${file}`) : [];
const wanted = process.argv.slice(2);
const isWanted = (file) => wanted.length === 0 || wanted.some((name) => file.includes(name));
const files = [...inFolder('tests'), ...inFolder('oauth'), ...inFolder('update')]
  .filter((file) => file.endsWith('.test.mjs') && isWanted(file))
  .sort((left, right) => rank(left) - rank(right) || left.localeCompare(right));

console.log(`hub: ${BINARY}`);
const results = files.length > 0 ? [run(['--test', '--test-reporter=spec', '--test-concurrency=2', ...files])] : [];

// The update algebra beside Yjs, without a hub: a driver built from the crate answers through a pipe.
const differential = 'update/differential.mjs';
if (existsSync(here(differential)) && isWanted(differential)) {
  const algebra = process.env.ALGEBRA_BIN ?? here('../target/release/examples/algebra');
  if (!existsSync(algebra)) {
    stop(`no driver at ${algebra}`, 'run `cargo build --release -p epicenter-update --example algebra`, or set ALGEBRA_BIN');
  }
  results.push(run([differential, '--algebra', algebra, '--seeds', process.env.DIFFERENTIAL_SEEDS ?? '10000']));
  results.push(run(['update/size.mjs', '--algebra', algebra]));
}
process.exit(results.every((result) => result === 0) ? 0 : 1);
