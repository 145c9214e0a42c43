import type { z } from 'zod';
import { err, ok, type Result } from '../base/result.ts';
import { queryMessageSchema, type QueryMessage } from './job-query.ts';
import { jobMessageSchema, type JobMessage } from './jobs.ts';
import { memberMessageSchema, type MemberMessage } from './membership.ts';
import { trustMessageSchema, type TrustMessage } from './trust.ts';
import { workspaceMessageSchema, type WorkspaceMessage } from './workspace.ts';

/** One message on a link's control socket, told apart by family. */
export type PeerMessage =
  | { readonly family: 'member'; readonly message: MemberMessage }
  | { readonly family: 'trust'; readonly message: TrustMessage }
  | { readonly family: 'job'; readonly message: JobMessage }
  | { readonly family: 'query'; readonly message: QueryMessage }
  | { readonly family: 'ws'; readonly message: WorkspaceMessage };

const ISSUE_CHARS_MAX = 200;

/** Parses a control message. @returns it, or what is wrong with it: the link should then be closed */
export function parsePeerMessage(json: string): Result<PeerMessage, string> {
  let raw: unknown;
  try {
    raw = JSON.parse(json);
  } catch (error) {
    return err(`not JSON: ${error instanceof Error ? error.message.slice(0, ISSUE_CHARS_MAX) : ''}`);
  }
  // Never made a string of: what a peer puts there may have no text, or one that costs the whole stack.
  const type = typeof raw === 'object' && raw !== null && 't' in raw && typeof raw.t === 'string' ? raw.t : '';
  switch (type.slice(0, type.indexOf('.'))) {
    case 'member':
      return parsed(memberMessageSchema, raw, type, (message) => ({ family: 'member', message }));
    case 'trust':
      return parsed(trustMessageSchema, raw, type, (message) => ({ family: 'trust', message }));
    case 'job':
      return parsed(jobMessageSchema, raw, type, (message) => ({ family: 'job', message }));
    case 'query':
      return parsed(queryMessageSchema, raw, type, (message) => ({ family: 'query', message }));
    case 'ws':
      return parsed(workspaceMessageSchema, raw, type, (message) => ({ family: 'ws', message }));
    default:
      return err(`an unknown message "${type.slice(0, 40)}"`);
  }
}

function parsed<T>(
  schema: z.ZodType<T>,
  raw: unknown,
  type: string,
  wrap: (message: T) => PeerMessage,
): Result<PeerMessage, string> {
  const result = schema.safeParse(raw);
  if (result.success) return ok(wrap(result.data));
  const issue = result.error.issues[0];
  return err(`${type} at ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`.slice(0, ISSUE_CHARS_MAX));
}
