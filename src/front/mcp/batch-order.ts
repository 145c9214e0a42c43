import { KIB } from '../../base/units.ts';
import type { DaemonApi } from './daemon-connection.ts';

/** Of one question: a frame to the daemon holds 1 MiB. */
const QUESTION_CHARS_MAX = 512 * KIB;
/** Longer ones are not kept in the history either. */
const COMMAND_CHARS_MAX = 4096;

/**
 * The order in which a batch starts its commands: those that took longest before go first, so that none of them is still
 * running when all the others are done (Graham, "Bounds on multiprocessing timing anomalies": longest processing time
 * first). Those that nobody knows count as the mean of the others; equal ones keep their order.
 *
 * @returns places in `commands`, each once
 */
export function startOrder(seconds: readonly (number | null)[]): number[] {
  const known = seconds.filter((one) => one !== null);
  const mean = known.reduce((sum, one) => sum + one, 0) / Math.max(1, known.length);
  return seconds.map((_, place) => place).sort((a, b) => (seconds[b] ?? mean) - (seconds[a] ?? mean));
}

/**
 * How long each command took before in that directory, seconds; null where nobody knows.
 *
 * @throws MeshError where the daemon cannot be asked
 */
export async function estimates(api: DaemonApi, cwd: string, commands: readonly unknown[]): Promise<(number | null)[]> {
  const texts = commands.map((one) => (typeof one === 'string' && one.length <= COMMAND_CHARS_MAX ? one : ''));
  const found: (number | null)[] = [];
  for (let from = 0; from < texts.length;) {
    let to = from;
    for (let chars = 0; to < texts.length && chars <= QUESTION_CHARS_MAX; to++) {
      // Six characters at most stand for one within JSON.
      chars += 6 * (texts[to]?.length ?? 0) + 3;
    }
    const { seconds } = await api.call('estimate', { cwd, commands: texts.slice(from, to) });
    found.push(...seconds);
    from = to;
  }
  return found;
}
