import { MeshError } from '../../base/errors.ts';
import type { SettingsReport } from '../../node/api-types.ts';

export interface UpOptions {
  readonly foreground?: boolean;
  readonly detachedChild?: boolean;
  readonly name?: string;
  readonly listen?: string;
  readonly peer?: readonly string[];
  /** False for `--no-mdns`. */
  readonly mdns?: boolean;
  readonly slots?: string;
  readonly label?: readonly string[];
}

/** The flags as settings of the daemon; what they say is checked there, with everything else. */
export function daemonFlagsOf(options: UpOptions) {
  return {
    name: options.name,
    listen: options.listen,
    peers: options.peer,
    mdns: options.mdns === false ? false : undefined,
    slots: options.slots === undefined ? undefined : Number(options.slots),
    labels: options.label === undefined ? undefined : labelsOf(options.label),
    detached: options.detachedChild === true,
  };
}

function labelsOf(labels: readonly string[]): Record<string, string> {
  const entries = labels.map((label) => {
    const equals = label.indexOf('=');
    if (equals < 1) throw new MeshError('bad_argument', `--label ${label}: give KEY=VALUE; nothing was started`);
    return [label.slice(0, equals), label.slice(equals + 1)] as const;
  });
  return Object.fromEntries(entries);
}

/** Also on a live daemon, where nothing else would read them. Throws MeshError `bad_argument`. */
export function checkUpFlags(options: UpOptions): void {
  labelsOf(options.label ?? []);
  if (options.slots !== undefined && !/^\d+$/.test(options.slots))
    throw new MeshError('bad_argument', `--slots ${options.slots}: give a whole number; nothing was started`);
}

/** The flags again as words, for the daemon that is started detached. */
export function flagWords(options: UpOptions): string[] {
  return [
    ...(options.name === undefined ? [] : ['--name', options.name]),
    ...(options.listen === undefined ? [] : ['--listen', options.listen]),
    ...(options.peer ?? []).flatMap((peer) => ['--peer', peer]),
    ...(options.mdns === false ? ['--no-mdns'] : []),
    ...(options.slots === undefined ? [] : ['--slots', options.slots]),
    ...(options.label ?? []).flatMap((label) => ['--label', label]),
  ];
}

/** What a live daemon has otherwise than asked for, in words such as `slots 4, not 8`. */
export function conflictingFlags(options: UpOptions, has: SettingsReport): string[] {
  const differing: string[] = [];
  const compare = (what: string, asked: string | undefined, actual: string): void => {
    if (asked !== undefined && asked !== actual)
      differing.push(`${what} ${actual === '' ? 'unset' : actual}, not ${asked}`);
  };
  compare('name', options.name, has.name);
  compare('listen', options.listen, has.listen);
  compare('slots', options.slots, String(has.slots));
  if (options.mdns === false) compare('mdns', 'off', has.mdns ? 'on' : 'off');
  for (const peer of options.peer ?? []) if (!has.peers.includes(peer)) compare('peer', peer, has.peers.join(' '));
  for (const label of options.label ?? []) {
    const [key = '', ...rest] = label.split('=');
    compare(`label ${key}`, rest.join('='), has.labels[key] ?? '');
  }
  return differing;
}
