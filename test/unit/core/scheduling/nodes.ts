import { base32, type NodeId } from '../../../../src/base/ids.ts';
import type { Candidate } from '../../../../src/core/scheduling/candidate.ts';
import type { PlacementRequest, ToolRules } from '../../../../src/core/scheduling/placement-request.ts';
import type { Facts, Load } from '../../../../src/wire/facts.ts';
import type { Requirements } from '../../../../src/wire/job-spec.ts';

/** A node id that begins with the name, so that failures can be read. */
export function idOf(name: string): NodeId {
  const fill = base32(new Uint8Array(33).fill(7));
  return `${name.replaceAll(/[^a-z2-7]/g, '')}${fill}`.slice(0, 52) as NodeId;
}

export const FACTS: Facts = {
  name: 'node',
  version: '0.1.0',
  os: 'linux',
  arch: 'x64',
  cores: 4,
  slots: 4,
  memory_bytes: 16 * 2 ** 30,
  tools: { make: '4.3', node: '20.11.1', git: '' },
  labels: {},
  gpus: [],
  on_battery: false,
  overridden: false,
};

export const LOAD: Load = {
  cpu_percent: 5,
  memory_percent: 20,
  memory_available_bytes: 8 * 2 ** 30,
  load_1m: 0.1,
  psi_cpu_some_avg10: null,
  jobs_running: 0,
  jobs_queued: 0,
  slots_free: 4,
  overloaded: false,
};

export interface Overrides {
  readonly facts?: Partial<Facts>;
  readonly load?: Partial<Load> | null;
  readonly node?: Partial<Candidate>;
}

export function candidate(name: string, { facts = {}, load = {}, node = {} }: Overrides = {}): Candidate {
  return {
    id: idOf(name),
    name,
    isSelf: false,
    facts: { ...FACTS, name, ...facts },
    load: load === null ? null : { ...LOAD, ...load },
    loadAtMs: 0,
    state: 'alive',
    reachable: true,
    acceptsOurs: true,
    rttMs: 1,
    inFlight: 0,
    ...node,
  };
}

export const self = (overrides: Overrides = {}): Candidate =>
  candidate('here', { ...overrides, node: { isSelf: true, rttMs: 0, ...overrides.node } });

export const NO_REQUIREMENTS: Requirements = {
  os: null,
  arch: null,
  capabilities: [],
  cpus: null,
  memory_bytes: null,
};

export function request(
  overrides: Partial<Omit<PlacementRequest, 'requires'>> & { readonly requires?: Partial<Requirements> } = {},
): PlacementRequest {
  return {
    jobClass: 'heavy',
    classReason: '`make` is heavy',
    target: { kind: 'bash' },
    tools: ['make'],
    toolsHere: [],
    pins: {},
    ...overrides,
    requires: { ...NO_REQUIREMENTS, ...overrides.requires },
  };
}

/** Majors are compatible, pins are prefixes, `x-…` tools are in no catalogue. */
export const RULES: ToolRules = {
  compatible: (_tool, here, there) => here.split('.')[0] === there.split('.')[0],
  pinSatisfied: (pin, version) => version.startsWith(pin),
  isCatalogued: (tool) => !tool.startsWith('x-'),
};
