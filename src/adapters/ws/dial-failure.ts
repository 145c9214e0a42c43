import { unreachable } from '../../base/assert.ts';
import { messageOf, systemCodeOf } from '../../base/errors.ts';
import type { DialFailure } from '../../ports/links.ts';
import type { HelloFault, HelloRefusal } from '../../wire/hello.ts';
import { PROTOCOL_VERSION } from '../../wire/version.ts';

const UNREACHABLE_CODES: ReadonlySet<string> = new Set([
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'EADDRNOTAVAIL',
  'EAFNOSUPPORT',
  'EINVAL',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EAI_FAIL',
  'EACCES',
  'EPERM',
]);

/** The connection could not be made, or broke before the other side said anything. */
export function failureOfError(error: unknown, at: string): DialFailure {
  const code = systemCodeOf(error);
  if (code === 'ECONNREFUSED') return { kind: 'refused', message: `nobody listens at ${at}` };
  if (code === 'ETIMEDOUT') return { kind: 'timeout', message: `${at} did not answer` };
  if (UNREACHABLE_CODES.has(code)) return { kind: 'unreachable', message: `${at} cannot be reached (${code})` };
  return { kind: 'other', message: `the connection to ${at} failed: ${messageOf(error)}` };
}

/** The upgrade was answered with a plain HTTP status. */
export function failureOfStatus(status: number, at: string): DialFailure {
  if (status === 401 || status === 403) {
    return {
      kind: 'untrusted',
      message: `the node at ${at} does not trust this node: it is in another mesh, or revoked`,
    };
  }
  if (status === 429 || status === 503) {
    return { kind: 'other', message: `the node at ${at} takes no more connections now` };
  }
  return { kind: 'other', message: `${at} is no meshwork node of this version (HTTP status ${status})` };
}

export function mismatch(theirs: number, at: string): DialFailure {
  const message =
    `the node at ${at} speaks protocol ${theirs}, this one ${PROTOCOL_VERSION}: ` +
    'run the same version of meshwork on both';
  return { kind: 'protocol_mismatch', message, theirs };
}

/** The other side's hello was not what it must be, or it refused ours. */
export function failureOfHello(
  fault: HelloFault | { readonly code: 'refused'; readonly refusal: HelloRefusal },
  at: string,
): DialFailure {
  switch (fault.code) {
    case 'protocol_mismatch':
      return mismatch(fault.theirs, at);
    case 'wrong_mesh':
      return { kind: 'untrusted', message: `the node at ${at} is in another mesh` };
    case 'bad_hello':
      return { kind: 'other', message: `the node at ${at} sent a malformed hello (${fault.detail})` };
    case 'refused':
      return failureOfRefusal(fault.refusal, at);
    default:
      return unreachable(fault);
  }
}

function failureOfRefusal(refusal: HelloRefusal, at: string): DialFailure {
  switch (refusal.code) {
    case 'protocol_mismatch':
      return mismatch(refusal.protocol, at);
    case 'wrong_mesh':
      return { kind: 'untrusted', message: `the node at ${at} is in another mesh` };
    case 'bad_hello':
      return { kind: 'other', message: `the node at ${at} could not read this node's hello` };
    default:
      return unreachable(refusal.code);
  }
}
