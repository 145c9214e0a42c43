import type { NodeId } from '../base/ids.ts';
import type { Role } from '../wire/trust.ts';
import type { Config } from './config-schema.ts';

/** A member of the mesh that was joined, as its grant has it. */
export interface NoticeMember {
  readonly node: NodeId;
  readonly name: string;
  readonly roles: readonly Role[];
}

export interface JoinNoticeOptions {
  /** Of this node. */
  readonly roles: readonly Role[];
  readonly others: readonly NoticeMember[];
  readonly exec: Pick<Config['exec'], 'accept' | 'mode' | 'allow' | 'user'>;
  readonly slots: Config['slots'];
  /** Whose account jobs use here. */
  readonly account: string;
}

const ONLY_SUBMITS = 'nobody may run commands here; this node only submits';

/** Who may run what here from now on, and how to narrow it: said to whoever let this machine join. */
export function joinNotice({ roles, others, exec, slots, account }: JoinNoticeOptions): string {
  const { accept, mode, allow, user } = exec;
  if (!roles.includes('run') || accept === 'none' || mode === 'off' || slots === 0) return ONLY_SUBMITS;
  if (mode === 'commands' && allow.length === 0) {
    return 'nobody may run commands here yet: exec.mode is "commands" and exec.allow names none';
  }
  const listed = (member: NoticeMember): boolean =>
    accept === 'members' || accept.includes(member.node) || member.roles.some((role) => accept.includes(role));
  const names = others.filter((member) => member.roles.includes('submit') && listed(member)).map(({ name }) => name);
  const later =
    accept === 'members'
      ? 'every later member of this mesh that may submit,'
      : `every later one that exec.accept names (${accept.join(', ')}) and that may submit,`;
  const who = names.length === 0 ? `no other member now, but ${later}` : `${names.join(', ')}, and ${later}`;
  const what = mode === 'commands' ? 'the commands that exec.allow names' : 'commands';
  const narrower = [
    ...(accept === 'members' ? ['exec.accept'] : []),
    ...(mode === 'commands' ? [] : ['exec.mode']),
    ...(user === '' ? ['exec.user'] : []),
  ];
  const last = narrower.pop();
  const list = narrower.length === 0 ? last : `${narrower.join(', ')} or ${last}`;
  const narrow = list === undefined ? '' : `. Narrow it with ${list} in config.toml`;
  return `${who} can now run ${what} here as user ${account}: with that account's files and keys${narrow}`;
}
