/** How a trace is read: the order proof of `trace.mjs` is only as good as this. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectionsOf, historyOf, offsetsOf, parseTrace } from '../lib/system-calls.mjs';

const HERE = '127.0.0.1:80->127.0.0.1:5000';

test('a call that others interrupt has two positions', () => {
  const calls = parseTrace(
    [
      '100 fdatasync(9</data/rooms.db-wal> <unfinished ...>',
      `101 sendto(5<TCP:[${HERE}]>, "early", 5, MSG_NOSIGNAL, NULL, 0) = 5`,
      '100 <... fdatasync resumed>)          = 0 (DELAYED)',
      '100 write(9</data/rooms.db-wal>, "x", 1) = -1 ENOSPC (No space left on device)',
      '--- not a call ---',
      '102 read(7<TCP:[1->2]>,  <unfinished ...>',
      '102 <... read resumed> <unfinished ...>) = ?',
      '100 +++ exited with 0 +++',
      '',
    ].join('\n'),
  );
  const seen = calls.map(({ name, enter, exit, result }) => ({ name, enter, exit, result }));
  assert.deepEqual(seen, [
    { name: 'sendto', enter: 1, exit: 1, result: 5 },
    { name: 'fdatasync', enter: 0, exit: 2, result: 0 },
    { name: 'write', enter: 3, exit: 3, result: -1 },
  ]);
  assert.deepEqual(historyOf(calls, '/data/rooms.db-wal'), [{ enter: 0, exit: 2, bytes: null }]);
});

test('bytes are those that were moved, escapes undone, over several calls', () => {
  const calls = parseTrace(
    [
      `1 recvfrom(5<TCP:[${HERE}]>, "\\0\\1\\201\\t\\"\\\\ab\\7", 4096, 0, NULL, NULL) = 9`,
      `1 writev(5<TCP:[${HERE}]>, [{iov_base="mar", iov_len=3}, {iov_base="ker!", iov_len=4}], 2) = 5`,
      `1 sendto(5<TCP:[${HERE}]>, "r!", 2, MSG_NOSIGNAL, NULL, 0) = 2`,
      `1 recvfrom(5<TCP:[${HERE}]>, 0x7f00, 4096, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)`,
    ].join('\n'),
  );
  const { received, sent } = connectionsOf(calls).get(HERE);
  assert.deepEqual([...received.bytes], [0, 1, 0o201, 9, 34, 92, 97, 98, 7]);
  assert.equal(sent.bytes.toString(), 'marker!');
  assert.deepEqual(offsetsOf('r', sent.bytes), [2, 5]);
  assert.equal(sent.callAt(2).name, 'writev');
  assert.equal(sent.callAt(5).name, 'sendto');
  assert.equal(sent.firstAfter(1).call.name, 'sendto');
  assert.equal(sent.lastBefore(2, (bytes) => bytes.includes('mark')).call.name, 'writev');
});

test('what cannot be read is an error, not silence', () => {
  const cut = parseTrace(`1 sendto(5<TCP:[${HERE}]>, "ab"..., 9000, 0, NULL, 0) = 9000`);
  assert.throws(() => connectionsOf(cut), /cuts the bytes of a sendto short/);
  const unreadable = parseTrace('1 sendfile(5<TCP:[1->2]>, 6</data/x>, NULL, 10) = 10');
  assert.throws(() => connectionsOf(unreadable), /the hub used sendfile/);
});
