/**
 * The protocol spoken between peers, and between fronts, daemon and runner. A node talks only to the same version: a
 * peer of another one is refused with `protocol_mismatch` before anything else is read.
 *
 * History: 1 (first release).
 */
export const PROTOCOL_VERSION = 1;
