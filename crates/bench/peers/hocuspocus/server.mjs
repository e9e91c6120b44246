/**
 * Hocuspocus with its SQLite extension, as its documentation sets it up.
 *
 *   node server.mjs FOLDER
 */
import path from 'node:path';
import { SQLite } from '@hocuspocus/extension-sqlite';
import { Server } from '@hocuspocus/server';

const [folder] = process.argv.slice(2);
const server = new Server({
  address: '127.0.0.1',
  port: 0,
  quiet: true,
  extensions: [new SQLite({ database: path.join(folder, 'documents.sqlite') })],
});
await server.listen();
console.log(`listening on ws://127.0.0.1:${server.address.port}`);
