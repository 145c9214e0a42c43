import { formatSize } from '../../base/units.ts';
import type { Facts, Load } from '../../wire/facts.ts';
import type { Reason } from '../../wire/jobs.ts';
import type { Requirements } from '../../wire/job-spec.ts';
import { reasonOf } from './reason.ts';

/**
 * Why a node does not meet what a job states; all reasons. The origin asks it of every node's facts, the executor again
 * of its own. What the job leaves open (`os: null`, `any`) binds nothing here: see `platformReasons` in platform.ts.
 *
 * @param load null where it is not known: then free memory is not judged
 * @param hasTool whether the node has an executable: its facts list the usual ones only
 */
export function requirementReasons(
  requires: Requirements,
  facts: Facts,
  load: Load | null,
  hasTool: (tool: string) => boolean,
): Reason[] {
  const reasons: Reason[] = [];
  if (requires.os !== null && requires.os !== 'any' && requires.os !== facts.os) {
    reasons.push(reasonOf('os', `runs ${facts.os}, ${requires.os} is required`));
  }
  if (requires.arch !== null && requires.arch !== 'any' && requires.arch !== facts.arch) {
    reasons.push(reasonOf('arch', `is ${facts.arch}, ${requires.arch} is required`));
  }
  for (const capability of requires.capabilities) {
    const missing = capabilityMissing(capability, facts, hasTool);
    if (missing !== null) reasons.push(reasonOf('capability', missing));
  }
  if (requires.cpus !== null && requires.cpus > facts.cores) {
    reasons.push(reasonOf('cpus', `has ${facts.cores} cores, ${requires.cpus} are required`));
  }
  const memory = requires.memory_bytes;
  if (memory !== null && memory > facts.memory_bytes) {
    reasons.push(reasonOf('memory', `has ${formatSize(facts.memory_bytes)} of memory, ${formatSize(memory)} required`));
  } else if (memory !== null && load !== null && memory > load.memory_available_bytes) {
    const free = formatSize(load.memory_available_bytes);
    reasons.push(reasonOf('memory', `has ${free} of memory available, ${formatSize(memory)} required`));
  }
  return reasons;
}

/** `tool:NAME`, `gpu`, `label:K=V`, `label:K`. Returns what is missing, for people, or null. */
function capabilityMissing(capability: string, facts: Facts, hasTool: (tool: string) => boolean): string | null {
  if (capability === 'gpu') return facts.gpus.length > 0 ? null : 'has no gpu';
  const colon = capability.indexOf(':');
  const kind = capability.slice(0, Math.max(colon, 0));
  const rest = capability.slice(colon + 1);
  if (kind === 'tool') return hasTool(rest) ? null : `has no ${rest} (tool:${rest} is required)`;
  if (kind === 'label') {
    const equals = rest.indexOf('=');
    const key = equals < 0 ? rest : rest.slice(0, equals);
    const value = Object.hasOwn(facts.labels, key) ? facts.labels[key] : undefined;
    if (value === undefined) return `has no label ${key}`;
    const wanted = equals < 0 ? value : rest.slice(equals + 1);
    return value === wanted ? null : `has label ${key}=${value}, ${key}=${wanted} is required`;
  }
  return `does not have ${capability}`;
}
