/** The bytes of the room protocol, written with the libraries that clients use. */
import * as decoding from 'lib0/decoding';
import * as encoding from 'lib0/encoding';
import { messageYjsSyncStep1, messageYjsSyncStep2, messageYjsUpdate } from 'y-protocols/sync';
import * as Y from 'yjs';

export const STEP1 = messageYjsSyncStep1;
export const STEP2 = messageYjsSyncStep2;
export const UPDATE = messageYjsUpdate;

/** The V2 update that holds nothing. */
export const EMPTY_UPDATE = Y.encodeStateAsUpdateV2(new Y.Doc());
/** The state vector of an empty document. */
export const EMPTY_STATE_VECTOR = Y.encodeStateVector(new Y.Doc());

export function encodeFrame(subtype, payload) {
  const encoder = encoding.createEncoder();
  encoding.writeVarUint(encoder, subtype);
  encoding.writeVarUint8Array(encoder, payload);
  return encoding.toUint8Array(encoder);
}

export function parseFrame(bytes) {
  const decoder = decoding.createDecoder(bytes);
  const subtype = decoding.readVarUint(decoder);
  return { subtype, payload: decoding.readVarUint8Array(decoder) };
}

/** The body of `POST` sync: a state vector, then an update or nothing. */
export function encodeSyncBody(stateVector, update = new Uint8Array()) {
  const encoder = encoding.createEncoder();
  encoding.writeVarUint8Array(encoder, stateVector);
  encoding.writeVarUint8Array(encoder, update);
  return encoding.toUint8Array(encoder);
}

/** Whether stock Yjs decodes this update at all. */
export function yjsDecodes(update) {
  try {
    Y.decodeUpdateV2(update);
    return true;
  } catch {
    return false;
  }
}

export const fromHex = (hex) => new Uint8Array(Buffer.from(hex, 'hex'));
