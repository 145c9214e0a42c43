import { relative } from 'node:path';
import type { LocalDirectories } from '../adapters/os/directories.ts';
import type { NodeProbe } from '../adapters/os/system-probe.ts';
import type { NodeId } from '../base/ids.ts';
import { judge } from '../core/policy/exec-policy.ts';
import type { TrustSet } from '../core/trust/trust-set.ts';
import type { JobMessageOf, Reason } from '../wire/jobs.ts';
import { requiredTools, toolsHere } from './job-preparation.ts';
import type { Config } from './config-schema.ts';
import type { Verdict } from './executor-service.ts';

export interface JobCheckContext {
  readonly self: () => NodeId;
  readonly trust: () => TrustSet;
  readonly config: Config;
  readonly directories: LocalDirectories;
  readonly probe: NodeProbe;
}

/**
 * The executor decides: may this origin run this command here, and where? Every reason against it is given. What a node
 * does for itself is not judged by the policy for others.
 */
export async function checkJob(
  context: JobCheckContext,
  from: NodeId,
  reserve: JobMessageOf<'job.reserve'>,
): Promise<Verdict> {
  const reasons: Reason[] = [];
  const own = from === context.self();
  if (!own) {
    // Who may not submit here learns nothing more of this machine, and costs it no look at its disk.
    const refusal = acceptance(context, from);
    if (refusal !== null) return { ok: false, reasons: [refusal] };
    const judged = judge(reserve.command, context.config.exec);
    if (!judged.ok) reasons.push(judged.error);
  }
  const required = requiredTools(reserve.requires);
  const wanted = [...reserve.tools, ...required];
  const toolsFound = await toolsHere(context.probe, wanted);
  // A missing executable of its own is told by the shell here, as without meshwork; elsewhere it is a reason.
  for (const tool of own ? [] : new Set(wanted)) {
    if (toolsFound.includes(tool)) continue;
    const why = `has no ${tool}`;
    if (required.includes(tool)) reasons.push({ code: 'capability', text: `${why} (tool:${tool} is required)` });
    else reasons.push({ code: 'tool_missing', text: `${why}, which the command runs` });
  }
  // A workspace is made for the job and holds nothing of this machine: `exec.cwd_root` does not speak of it.
  if (reserve.workspace && !own) return reasons.length > 0 ? { ok: false, reasons } : { ok: true, cwd: '', toolsFound };
  const directory = await context.directories.resolve(reserve.cwd, !own && reserve.explicit);
  if (!directory.ok) reasons.push({ code: directory.code, text: directory.message });
  else if (!own && !isBelow(context.config.exec.cwd_root, directory.cwd)) {
    reasons.push({
      code: 'cwd_not_allowed',
      text: `runs commands only in or below ${context.config.exec.cwd_root}, not in ${directory.cwd}`,
    });
  }
  if (reasons.length > 0) return { ok: false, reasons };
  return { ok: true, cwd: directory.ok ? directory.cwd : reserve.cwd.path, toolsFound };
}

/** Roles come from this node's own verified trust set, never from what a peer says of itself. */
function acceptance(context: JobCheckContext, from: NodeId): Reason | null {
  const { members } = context.trust();
  const { accept } = context.config.exec;
  const roles = members.get(from)?.roles ?? [];
  if (!roles.includes('submit'))
    return { code: 'not_accepted', text: 'does not let this origin submit (no role submit)' };
  if (members.get(context.self())?.roles.includes('run') !== true) {
    return { code: 'not_accepted', text: 'takes no jobs from others (it joined with --submit-only)' };
  }
  if (accept === 'members') return null;
  if (accept === 'none') return { code: 'not_accepted', text: 'takes no jobs from others (exec.accept is "none")' };
  const listed = accept.includes(from) || roles.some((role) => accept.includes(role));
  return listed ? null : { code: 'not_accepted', text: 'takes no jobs from this origin (exec.accept)' };
}

function isBelow(root: string, path: string): boolean {
  if (root === '') return true;
  const between = relative(root, path);
  return between === '' || !(between === '..' || between.startsWith('../'));
}
