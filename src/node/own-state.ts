import type { NodeProbe } from '../adapters/os/system-probe.ts';
import { MeshError } from '../base/errors.ts';
import type { DetectedFacts } from '../ports/system.ts';
import type { SettingsReport } from '../wire/api.ts';
import type { Facts, Load } from '../wire/facts.ts';
import { slotCount } from './config.ts';
import { formatHostPort, type Config } from './config-schema.ts';
import { VERSION } from './version.ts';

export interface OwnStateOptions {
  readonly config: Config;
  readonly name: string;
  readonly probe: NodeProbe;
  /** What the job machines of this node have now. */
  readonly jobs: () => { readonly running: number; readonly queued: number; readonly slotsFree: number };
}

/** What this node says of itself: facts, load, and the settings that clients are told of. */
export class OwnState {
  readonly #options: OwnStateOptions;
  #detected: DetectedFacts | null = null;

  constructor(options: OwnStateOptions) {
    this.#options = options;
  }

  detected(facts: DetectedFacts): void {
    this.#detected = facts;
  }

  facts(): Facts {
    const { config, name } = this.#options;
    const detected = this.#detected;
    if (detected === null) throw new MeshError('internal', 'facts are read before the node has started');
    return { ...detected, name, version: VERSION, slots: slotCount(config, detected.cores) };
  }

  load(): Load {
    const { probe, config, jobs } = this.#options;
    const measured = probe.sampleLoad();
    const { cpu_percent: cpu, load_per_core: perCore, memory_percent: memory } = config.overloaded;
    const cores = this.#detected?.cores ?? 1;
    const { running, queued, slotsFree } = jobs();
    return {
      ...measured,
      jobs_running: running,
      jobs_queued: queued,
      slots_free: slotsFree,
      overloaded:
        measured.cpu_percent >= cpu || measured.load_1m / cores >= perCore || measured.memory_percent >= memory,
    };
  }

  settings(): SettingsReport {
    const { config, name } = this.#options;
    return {
      name,
      listen: formatHostPort(config.listen),
      peers: config.peers.map(formatHostPort),
      mdns: config.mdns,
      slots: this.facts().slots,
      labels: config.labels,
      mcp: { timeout_s: config.mcp.timeout_s, wait_s: config.mcp.wait_s, roots: config.mcp.roots },
    };
  }
}

/** The settings of an environment. */
export const settingsOfEnv = (env: NodeJS.ProcessEnv): Record<string, string> =>
  Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) =>
      name.startsWith('MESHWORK_') && value !== undefined ? [[name, value]] : [],
    ),
  );
