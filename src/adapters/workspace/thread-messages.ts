import { MeshError, messageOf, systemCodeOf, type ErrorCode } from '../../base/errors.ts';

/**
 * Messages between the daemon and its workspace thread. Both ends are one build in one process: shapes are not checked.
 * Byte arrays are handed over, not copied by the structured clone, which would clone the whole buffer behind a slice.
 */
export type ToWorkspaceThread =
  | {
      readonly t: 'call';
      readonly id: number;
      readonly op: string;
      /** Functions can't travel: null in the place of one, which is called with numbers. */
      readonly args: readonly unknown[];
      /** Which argument is a function; -1: none. */
      readonly callback: number;
    }
  | { readonly t: 'stop' };

export type FromWorkspaceThread =
  | { readonly t: 'done'; readonly id: number; readonly value: unknown }
  | { readonly t: 'failed'; readonly id: number; readonly code: ErrorCode; readonly message: string }
  | { readonly t: 'progress'; readonly id: number; readonly value: number };

/** How deep in a call's arguments or result byte arrays may be: a Result, its value, a field of that. */
const DEPTH_MAX = 3;

/** Buffers that byte arrays were made in for the other thread alone, as a part of them. */
const handed = new WeakSet<ArrayBufferLike>();

/** Marks the whole buffer of `bytes` as the other thread's: where it is given it is not copied, though they are a part of it. */
export function handOver(bytes: Uint8Array): Uint8Array {
  handed.add(bytes.buffer);
  return bytes;
}

/**
 * A copy of `value` in which each byte array has a buffer of its own, listed in `transfer`. Those that have one already
 * are taken as they are where `give` says that the caller is done with them. Bare buffers are always given.
 */
export function detachable(value: unknown, transfer: ArrayBuffer[], give: boolean, depth = 0): unknown {
  if (value instanceof Uint8Array) {
    const isOwn = value.byteLength === value.buffer.byteLength || handed.has(value.buffer);
    const whole = give && isOwn && value.buffer instanceof ArrayBuffer;
    const own = whole ? value : Uint8Array.prototype.slice.call(value);
    // A second mention of one buffer in the list would be refused.
    if (own.buffer instanceof ArrayBuffer && !transfer.includes(own.buffer)) transfer.push(own.buffer);
    return new Uint8Array(own.buffer, own.byteOffset, own.byteLength);
  }
  if (value instanceof ArrayBuffer) {
    transfer.push(value);
    return value;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value) || depth >= DEPTH_MAX) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, field]) => [key, detachable(field, transfer, give, depth + 1)]),
  );
}

/** An error as it travels: a system's error is `io`, what nobody expected `internal`. */
export function failureOf(error: unknown): { readonly code: ErrorCode; readonly message: string } {
  if (error instanceof MeshError) return { code: error.code, message: error.message };
  return { code: systemCodeOf(error) === '' ? 'internal' : 'io', message: messageOf(error) };
}
