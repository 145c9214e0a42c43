import { existsSync } from 'node:fs';
import { MeshError, messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { DetectedFacts, MeasuredLoad, SystemProbe } from '../../ports/system.ts';
import { ARCH_NAMES, OS_NAMES, type ArchName, type OsName } from '../../wire/facts.ts';
import { type FactsFile, openFactsFile, overrideFacts, overrideLoad } from './facts-file.ts';
import { detectGpus, readAvailableMemory, readOnBattery } from './hardware.ts';
import { createLoadSampler } from './load.ts';
import { KNOWN_TOOLS, XCODE_STUBS } from './tool-list.ts';
import { findExecutable, pathStamp, scanTools } from './tool-scan.ts';
import { createToolVersions } from './tool-versions.ts';
import { runBounded } from './bounded-command.ts';

/** Facts are ready after this at the latest; versions that take longer come through `onFacts`. */
const START_WAIT_MS = 2000;
const FACTS_FILE_POLL_MS = 1000;
const LOOK_INTERVAL_MS = 60_000;
const FULL_LOOKS_EVERY = 60;
const RETRIES_MAX = 3;
const MEMORY_INTERVAL_MS = 5000;
const STUB_CHECK_TIMEOUT_MS = 2000;

export interface SystemProbeOptions {
  /** The environment of jobs: tools are looked for on its PATH. */
  readonly env: Readonly<Record<string, string>>;
  /** The home of the user that jobs run as. */
  readonly home: string;
  /** Set where jobs run as another user than this process. */
  readonly user: { readonly uid: number; readonly gid: number } | null;
  /** From the settings. */
  readonly labels: Readonly<Record<string, string>>;
  /** The value of MESHWORK_FACTS_FILE, or null. */
  readonly factsFile: string | null;
  readonly log: Logger;
}

export interface NodeProbe extends SystemProbe {
  /** What is known now, as `onFacts` told it or is about to. */
  facts(): DetectedFacts;
  /** Settles once the first look is over: from then on each tool's version is known, but of those that do not say. */
  whenLooked(): Promise<void>;
  /** Whether jobs here find that executable: one of the facts' tools or, for a name that nobody scans for, on PATH now. */
  hasTool(name: string): Promise<boolean>;
}

/**
 * Detects what this machine is and measures how busy it is.
 *
 * @throws MeshError `bad_config` where the facts file is missing or invalid, `daemon_start_failed` on an operating
 *   system or architecture that is not supported
 */
export function createSystemProbe(options: SystemProbeOptions): NodeProbe {
  return new MachineProbe(options);
}

class MachineProbe implements NodeProbe {
  readonly #options: SystemProbeOptions;
  readonly #path: string;
  readonly #factsFile: FactsFile | null;
  readonly #versions;
  readonly #sampler;
  readonly #platform: { readonly os: OsName; readonly arch: ArchName };
  readonly #timers: NodeJS.Timeout[] = [];
  #availableBytes: number | null = null;
  #tools: Record<string, string> = {};
  #gpus: readonly string[] = [];
  #onBattery = false;
  #pathStamp: string | null = null;
  #looks = 0;
  #retries = 0;
  #looking = false;
  #told = '';
  #firstLook: Promise<void> = Promise.resolve();
  #onFacts: (facts: DetectedFacts) => void = () => undefined;

  constructor(options: SystemProbeOptions) {
    this.#options = options;
    this.#path = options.env['PATH'] ?? '';
    this.#platform = detectPlatform(process.platform, process.arch);
    this.#factsFile =
      options.factsFile === null ? null : openFactsFile(options.factsFile, options.log, () => performance.now());
    const cwd = existsSync(options.home) ? options.home : '/';
    this.#versions = createToolVersions({ env: options.env, cwd, user: options.user, log: options.log });
    this.#sampler = createLoadSampler({
      platform: process.platform,
      root: '/',
      nowMs: () => performance.now(),
      availableBytes: () => this.#availableBytes,
    });
  }

  async start(onFacts: (facts: DetectedFacts) => void): Promise<DetectedFacts> {
    if (process.platform === 'darwin') this.#every(MEMORY_INTERVAL_MS, () => this.#readMemory());
    this.#firstLook = this.#look();
    await Promise.race([this.#firstLook, new Promise((resolve) => setTimeout(resolve, START_WAIT_MS).unref())]);
    this.#onFacts = onFacts;
    const facts = this.#facts();
    this.#told = JSON.stringify(facts);
    this.#every(LOOK_INTERVAL_MS, () => this.#look());
    const factsFile = this.#factsFile;
    if (factsFile !== null) {
      this.#every(FACTS_FILE_POLL_MS, () => {
        return factsFile.poll() ? this.#overridesChanged(factsFile) : undefined;
      });
    }
    return facts;
  }

  sampleLoad(): MeasuredLoad {
    const measured = this.#sampler.sample();
    if (this.#factsFile === null) return measured;
    return overrideLoad(measured, this.#factsFile.current(), this.#sampler.memoryBytes());
  }

  facts(): DetectedFacts {
    return this.#facts();
  }

  whenLooked(): Promise<void> {
    return this.#firstLook;
  }

  async hasTool(name: string): Promise<boolean> {
    const overridden = this.#factsFile?.current().tools;
    if (Object.hasOwn(overridden ?? this.#tools, name)) return true;
    // A facts file speaks for all the tools that a node reports; other executables are what they are.
    if (overridden !== undefined && KNOWN_TOOLS.has(name)) return false;
    return (await findExecutable(name, this.#path)) !== null;
  }

  stop(): void {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    this.#onFacts = () => undefined;
  }

  async #overridesChanged(factsFile: FactsFile): Promise<void> {
    this.#tell();
    if (factsFile.current().tools !== undefined || this.#pathStamp !== null) return;
    // The file spoke for the tools until now, so they were never looked at.
    await this.#lookAtTools(true);
    this.#tell();
  }

  #every(intervalMs: number, act: () => void | Promise<void>): void {
    const timer = setInterval(() => void this.#guarded(act), intervalMs);
    timer.unref();
    this.#timers.push(timer);
  }

  /** A look that fails leaves the facts as they were: the node works on with what it knows. */
  async #guarded(act: () => void | Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.#options.log.warn('could not look at this machine', { error: messageOf(error) });
    }
  }

  async #readMemory(): Promise<void> {
    this.#availableBytes = await readAvailableMemory();
  }

  /** Every minute what is cheap; tools when a PATH directory changed; everything every hour. */
  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      const full = this.#looks % FULL_LOOKS_EVERY === 0;
      this.#looks += 1;
      if (full) this.#versions.forget();
      this.#sampler.refreshLimits();
      await Promise.all([
        this.#guarded(() => this.#lookAtTools(full)),
        this.#guarded(() => this.#lookAtHardware(full)),
        ...(process.platform === 'darwin' ? [this.#guarded(() => this.#readMemory())] : []),
      ]);
      this.#tell();
    } finally {
      this.#looking = false;
    }
  }

  async #lookAtTools(full: boolean): Promise<void> {
    const stamp = await pathStamp(this.#path);
    // With tools from a facts file nobody needs the real ones: nodes under test start without asking 20 programs.
    if (this.#factsFile?.current().tools !== undefined) return;
    if (!full && stamp === this.#pathStamp) return;
    const found = await withoutStubs(await scanTools(this.#path));
    const tools: Record<string, string> = {};
    for (const name of [...found.keys()].sort()) tools[name] = this.#tools[name] ?? '';
    // Names count at once; on the first look nobody is told before the versions are known or the wait is over.
    this.#tools = tools;
    this.#pathStamp = stamp;
    const complete = await this.#versions.ask(found, (name, version) => {
      tools[name] = version;
    });
    this.#retries = complete ? 0 : this.#retries + 1;
    // Looks again in a minute, but not for ever: a tool may be one that hangs.
    if (!complete && this.#retries <= RETRIES_MAX) this.#pathStamp = '';
  }

  async #lookAtHardware(full: boolean): Promise<void> {
    this.#onBattery = await readOnBattery(process.platform, '/');
    if (!full) return;
    const nvidiaSmi = await findExecutable('nvidia-smi', this.#path);
    this.#gpus = await detectGpus({ platform: process.platform, root: '/', nvidiaSmi, env: this.#options.env });
  }

  #facts(): DetectedFacts {
    const detected: DetectedFacts = {
      ...this.#platform,
      cores: Math.round(this.#sampler.cores() * 100) / 100,
      memory_bytes: this.#sampler.memoryBytes(),
      tools: { ...this.#tools },
      labels: { ...this.#options.labels },
      gpus: [...this.#gpus],
      on_battery: this.#onBattery,
      overridden: false,
    };
    return this.#factsFile === null ? detected : overrideFacts(detected, this.#factsFile.current());
  }

  #tell(): void {
    const facts = this.#facts();
    const text = JSON.stringify(facts);
    if (text === this.#told) return;
    this.#told = text;
    this.#onFacts(facts);
  }
}

function detectPlatform(platform: string, arch: string): { readonly os: OsName; readonly arch: ArchName } {
  const osName = OS_NAMES.find((name) => name === (platform === 'win32' ? 'windows' : platform));
  const archName = ARCH_NAMES.find((name) => name === arch);
  if (osName === undefined || archName === undefined) {
    throw new MeshError(
      'daemon_start_failed',
      `meshwork does not run on ${platform} ${arch}: it knows ${OS_NAMES.join(', ')} on ${ARCH_NAMES.join(', ')}. Nothing was started.`,
    );
  }
  return { os: osName, arch: archName };
}

/** macOS: without the command line tools and without a Java, what /usr/bin has of them is a stub that opens a window. */
async function withoutStubs(found: ReadonlyMap<string, string>): Promise<ReadonlyMap<string, string>> {
  if (process.platform !== 'darwin') return found;
  const works = async (file: string, args: readonly string[]): Promise<boolean> => {
    const env = { PATH: '/usr/bin:/bin' };
    const limits = { timeoutMs: STUB_CHECK_TIMEOUT_MS, outputBytesMax: 4096, cwd: '/', user: null };
    const end = await runBounded({ file, args, env, ...limits });
    return end.kind === 'exited' && end.code === 0;
  };
  const xcode = await works('/usr/bin/xcode-select', ['-p']);
  const java = await works('/usr/libexec/java_home', []);
  const isStub = (name: string, path: string): boolean =>
    path === `/usr/bin/${name}` &&
    ((!xcode && XCODE_STUBS.has(name)) || (!java && (name === 'java' || name === 'javac')));
  return new Map([...found].filter(([name, path]) => !isStub(name, path)));
}
