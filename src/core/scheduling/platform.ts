import type { Facts } from '../../wire/facts.ts';
import type { Reason } from '../../wire/jobs.ts';
import type { Requirements } from '../../wire/job-spec.ts';
import type { PlacementRequest, ToolRules } from './placement-request.ts';
import { reasonOf } from './reason.ts';

const versionOf = (facts: Facts, tool: string): string =>
  Object.hasOwn(facts.tools, tool) ? (facts.tools[tool] ?? '') : '';

/** True where the user named an operating system, or `any`: then only what is stated binds. */
export const isRelaxed = (requires: Requirements): boolean => requires.os !== null;

/**
 * The same-platform rule of automatic routing: same OS and architecture, compatible versions of the command's own
 * tools, pins met. A version that is not known is never compared.
 */
export function platformReasons(request: PlacementRequest, here: Facts, there: Facts, rules: ToolRules): Reason[] {
  if (isRelaxed(request.requires)) return [];
  const reasons: Reason[] = [];
  if (there.os !== here.os) reasons.push(reasonOf('os', `runs ${there.os}, here is ${here.os}`));
  if (request.requires.arch === null && there.arch !== here.arch) {
    reasons.push(reasonOf('arch', `is ${there.arch}, here is ${here.arch}`));
  }
  for (const tool of request.tools) {
    const [ours, theirs] = [versionOf(here, tool), versionOf(there, tool)];
    if (theirs === '') continue;
    const pin = Object.hasOwn(request.pins, tool) ? request.pins[tool] : undefined;
    if (ours !== '' && !rules.compatible(tool, ours, theirs)) {
      reasons.push(reasonOf('tool_version', `has ${tool} ${theirs}, here is ${ours}`));
    }
    if (pin !== undefined && !rules.pinSatisfied(pin, theirs, tool)) {
      reasons.push(reasonOf('tool_version', `has ${tool} ${theirs}, the project pins ${pin}`));
    }
  }
  return reasons;
}

/** The command's own executables that a node lacks. */
export function missingToolReasons(request: PlacementRequest, hasTool: (tool: string) => boolean): Reason[] {
  return request.tools
    .filter((tool) => !hasTool(tool) && !request.requires.capabilities.includes(`tool:${tool}`))
    .map((tool) => reasonOf('tool_missing', `has no ${tool}, which the command runs`));
}

/** Versions of the command's own tools where they differ from here; '' is a version that is not known. */
export function toolDifferences(
  tools: readonly string[],
  here: Facts,
  there: Facts,
): Record<string, { readonly here: string; readonly there: string }> {
  const differing = tools.filter((tool) => versionOf(here, tool) !== versionOf(there, tool));
  return Object.fromEntries(
    differing.map((tool) => [tool, { here: versionOf(here, tool), there: versionOf(there, tool) }]),
  );
}
