import type { MeshId, NodeId } from '../../../../src/base/ids.ts';
import { seededRandom } from '../../../../src/base/random.ts';
import type { MembershipEffect, MembershipInput } from '../../../../src/core/membership/contract.ts';
import { Membership } from '../../../../src/core/membership/membership.ts';
import type { Facts, Load } from '../../../../src/wire/facts.ts';
import type { MemberMessage, MemberMessageOf, MemberRecord, RecordItem } from '../../../../src/wire/membership.ts';

export const nodeId = (letter: string): NodeId => letter.repeat(52) as NodeId;
const MESH = 'm'.repeat(52) as MeshId;
export const A = nodeId('a');
export const B = nodeId('b');
export const C = nodeId('c');

export const facts = (name: string): Facts => ({
  name,
  version: '0.1.0',
  os: 'linux',
  arch: 'x64',
  cores: 4,
  slots: 4,
  memory_bytes: 8e9,
  tools: { node: '20.20.2' },
  labels: {},
  gpus: [],
  on_battery: false,
  overridden: false,
});

export const load = (changes: Partial<Load> = {}): Load => ({
  cpu_percent: 10,
  memory_percent: 30,
  memory_available_bytes: 5e9,
  load_1m: 0.5,
  psi_cpu_some_avg10: null,
  jobs_running: 0,
  jobs_queued: 0,
  slots_free: 4,
  overloaded: false,
  ...changes,
});

export const record = (id: NodeId, incarnation: number, changes: Partial<MemberRecord> = {}): MemberRecord => ({
  mesh: MESH,
  id,
  incarnation,
  version: 1,
  state_claim: 'here',
  addresses: [{ host: '10.0.0.2', port: 47470 }],
  facts: facts('other'),
  ...changes,
});

export const item = (
  id: NodeId,
  incarnation: number,
  changes: Partial<MemberRecord> = {},
  view: Partial<RecordItem> = {},
): RecordItem => ({ record: record(id, incarnation, changes), sig: 'c2ln', state: 'alive', age_ms: 0, ...view });

/** One membership whose signatures, checks and writes are answered at once, unless held back. */
export class Rig {
  readonly core: Membership;
  nowMs = 1000;
  /** Everything that came out and was not answered. */
  out: MembershipEffect[] = [];
  answers = { sign: true, verify: true, persist: true };
  nextLink = 1;

  constructor(trusted: readonly NodeId[] = [B, C], incarnation = 1, self: NodeId = A) {
    this.core = new Membership({ self, mesh: MESH, incarnation, random: seededRandom(1) });
    this.step({ kind: 'trust_changed', trusted: new Set(trusted) });
    this.step({ kind: 'local_changed', facts: facts('self'), addresses: [{ host: '10.0.0.1', port: 47470 }] });
    this.out = [];
  }

  step(input: MembershipInput): void {
    for (const effect of this.core.step(input, this.nowMs)) {
      if (effect.kind === 'sign' && this.answers.sign)
        this.step({ kind: 'signed', token: effect.token, sig: 'c2VsZg==' });
      else if (effect.kind === 'verify' && this.answers.verify)
        this.step({ kind: 'verified', token: effect.token, ok: true });
      else if (effect.kind === 'persist_incarnation' && this.answers.persist) {
        this.out.push(effect);
        this.step({ kind: 'persisted', incarnation: effect.incarnation });
      } else this.out.push(effect);
    }
  }

  take(): MembershipEffect[] {
    const taken = this.out;
    this.out = [];
    return taken;
  }

  link(peer: NodeId, instance = 1): number {
    const link = this.nextLink++;
    this.step({ kind: 'link_up', peer, link, instance });
    return link;
  }

  from(peer: NodeId, msg: MemberMessage): void {
    this.step({ kind: 'message', from: peer, msg });
  }

  records(peer: NodeId, ...items: RecordItem[]): void {
    this.from(peer, { t: 'member.records', items });
  }

  beat(peer: NodeId, incarnation = 1, changes: Partial<MemberMessageOf<'member.heartbeat'>> = {}): void {
    this.from(peer, { t: 'member.heartbeat', incarnation, version: 1, seq: 0, load: null, ...changes });
  }

  /** Lets time pass, stopping at each deadline as the runtime's one timer does. */
  pass(ms: number): void {
    const endMs = this.nowMs + ms;
    for (;;) {
      const nextMs = this.core.nextDeadlineMs();
      if (nextMs === null || nextMs > endMs) break;
      this.nowMs = Math.max(this.nowMs, nextMs);
      this.step({ kind: 'timer' });
    }
    this.nowMs = endMs;
  }

  state(id: NodeId): string {
    return this.core.member(id)?.state ?? 'unknown';
  }

  sent<T extends MemberMessage['t']>(t: T, to?: NodeId): MemberMessageOf<T>[] {
    const found: MemberMessageOf<T>[] = [];
    for (const effect of this.out) {
      if (effect.kind !== 'send' && effect.kind !== 'broadcast') continue;
      if (to !== undefined && effect.kind === 'send' && effect.to !== to) continue;
      if (isOf(effect.msg, t)) found.push(effect.msg);
    }
    return found;
  }

  kinds(kind: MembershipEffect['kind']): MembershipEffect[] {
    return this.out.filter((effect) => effect.kind === kind);
  }
}

function isOf<T extends MemberMessage['t']>(msg: MemberMessage, t: T): msg is MemberMessageOf<T> {
  return msg.t === t;
}
