import type { NodeId } from '../base/ids.ts';
import type { Member } from '../core/membership/contract.ts';
import type { NodeView, UnheardMember } from '../core/scheduling/candidate.ts';
import type { TrustSet } from '../core/trust/trust-set.ts';
import type { NodeReport, StatusReport } from '../wire/api.ts';
import type { Facts, Load } from '../wire/facts.ts';
import { formatHostPort } from './config-schema.ts';
import type { Mesh } from './mesh.ts';

/** A loopback or LAN round trip until it is measured: only its ratio to seconds of work matters. */
const RTT_MS = 1;
/** Of a member whose grant has no name. */
const ID_CHARS_SHOWN = 8;

/** What placement sees of every node; this node's own load is as of now. */
export function nodeViews(mesh: Mesh, self: NodeId, facts: Facts, load: Load, nowMs: number): NodeView[] {
  const { members } = mesh.trust;
  const weMaySubmit = members.get(self)?.roles.includes('submit') === true;
  const others = mesh.members.filter(({ id }) => id !== self);
  return [
    {
      id: self,
      name: facts.name,
      isSelf: true,
      facts,
      load,
      loadAtMs: nowMs,
      state: 'alive',
      reachable: true,
      acceptsOurs: true,
      rttMs: 0,
    },
    ...others.map((member): NodeView => ({
      ...refusedSince(mesh.refusedSinceMs(member.id)),
      id: member.id,
      name: member.facts.name,
      isSelf: false,
      facts: member.facts,
      load: member.load,
      loadAtMs: member.loadAtMs ?? 0,
      state: member.state,
      reachable: member.reachable,
      acceptsOurs: weMaySubmit && members.get(member.id)?.roles.includes('run') === true,
      rttMs: RTT_MS,
    })),
  ];
}

/** Members of which nothing has been heard since this node started, or for so long that they were forgotten. */
export function unheardMembers(mesh: Mesh, self: NodeId): UnheardMember[] {
  const known = new Set<NodeId>([self, ...mesh.members.map(({ id }) => id)]);
  const unheard = [...mesh.trust.members.values()].filter(({ node }) => !known.has(node));
  return unheard.map(({ node, name }) => ({ id: node, name: name ?? node.slice(0, ID_CHARS_SHOWN) }));
}

const refusedSince = (refusedSinceMs: number | null) => (refusedSinceMs === null ? {} : { refusedSinceMs });

/** The status object of the contract. */
export function statusReport(
  mesh: Mesh,
  self: NodeId,
  own: { readonly facts: Facts; readonly load: Load },
  notices: readonly string[],
  nowMs: number,
): StatusReport {
  const rows = mesh.members.filter(({ id }) => id !== self);
  const selfReport: NodeReport = {
    ...reportOf(own.facts, own.load, self, mesh.trust),
    state: 'alive',
    reachable: true,
    age_ms: 0,
    addresses: mesh.addresses.map(formatHostPort),
  };
  const nodes = [
    selfReport,
    ...rows.map((member) => memberReport(member, mesh.trust, nowMs)),
    ...unheardMembers(mesh, self).map(({ id, name }) => unheardReport(id, name, mesh.trust)),
  ];
  const taken = new Set(nodes.filter(({ reachable }) => reachable).flatMap(({ addresses }) => addresses));
  return {
    mesh_id: mesh.id,
    local_node: self,
    daemon_pid: process.pid,
    notices: [...mesh.notices, ...notices],
    nodes,
    nearby: mesh.nearby.list(nowMs, taken),
  };
}

function memberReport(member: Member, trust: TrustSet, nowMs: number): NodeReport {
  return {
    ...reportOf(member.facts, member.load, member.id, trust),
    state: member.state,
    reachable: member.reachable,
    age_ms: Math.max(0, Math.round(nowMs - (member.loadAtMs ?? member.heardAtMs))),
    addresses: member.addresses.map(formatHostPort),
  };
}

type Described = Omit<NodeReport, 'state' | 'reachable' | 'age_ms' | 'addresses'>;

function reportOf(facts: Facts, load: Load | null, id: NodeId, trust: TrustSet): Described {
  return {
    id,
    name: facts.name,
    os: facts.os,
    arch: facts.arch,
    cores: facts.cores,
    slots: facts.slots,
    jobs_running: load?.jobs_running ?? null,
    jobs_queued: load?.jobs_queued ?? null,
    cpu_percent: load === null ? null : tenth(load.cpu_percent),
    memory_percent: load === null ? null : tenth(load.memory_percent),
    load_1m: load?.load_1m ?? null,
    status: load?.overloaded === true ? 'overloaded' : 'healthy',
    capabilities: capabilitiesOf(facts),
    labels: facts.labels,
    version: facts.version,
    roles: trust.members.get(id)?.roles ?? [],
    ...(facts.overridden ? { facts: 'overridden' as const } : {}),
  };
}

function unheardReport(id: NodeId, name: string, trust: TrustSet): NodeReport {
  return {
    id,
    name,
    state: 'dead',
    reachable: false,
    age_ms: null,
    os: null,
    arch: null,
    cores: null,
    slots: null,
    jobs_running: null,
    jobs_queued: null,
    cpu_percent: null,
    memory_percent: null,
    load_1m: null,
    status: 'healthy',
    capabilities: [],
    labels: {},
    addresses: [],
    version: null,
    roles: trust.members.get(id)?.roles ?? [],
  };
}

const tenth = (value: number): number => Math.round(value * 10) / 10;

function capabilitiesOf(facts: Facts): string[] {
  return [
    ...Object.keys(facts.tools)
      .sort()
      .map((tool) => `tool:${tool}`),
    ...(facts.gpus.length > 0 ? ['gpu'] : []),
    ...Object.entries(facts.labels).map(([key, value]) => `label:${key}=${value}`),
  ];
}
