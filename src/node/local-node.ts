import { NO_PROJECTS } from './project-handlers.ts';
import { createDiscovery } from '../adapters/mdns/discovery.ts';
import type { LocalDirectories } from '../adapters/os/directories.ts';
import type { NodeProbe } from '../adapters/os/system-probe.ts';
import type { LoadedIdentity } from '../adapters/tls/identity.ts';
import { MeshError, messageOf } from '../base/errors.ts';
import { isJobId, type LeaseId, type NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { Executor } from '../core/jobs/executor.ts';
import type { ClassLists } from '../core/policy/class-lists.ts';
import type { Origin } from '../core/scheduling/origin.ts';
import type { RunRequest } from '../ports/runner.ts';
import type { DetectedFacts, LoginEnvironment } from '../ports/system.ts';
import type { JobMessage } from '../wire/jobs.ts';
import type { AuditLog } from './audit-log.ts';
import { slotCount } from './config.ts';
import type { Config } from './config-schema.ts';
import type { ApiHandlers } from './control-server.ts';
import { CoreLoop, nowMs } from './core-loop.ts';
import type { ExecutorService } from './executor-service.ts';
import { ExplainService } from './explain-service.ts';
import type { HistoryStore } from './history-store.ts';
import type { Home } from './home.ts';
import { JobEnds } from './job-ends.ts';
import { unknownEnds } from './job-lists.ts';
import { prepareJob } from './job-preparation.ts';
import { localExecutor } from './local-executor.ts';
import { Mesh } from './mesh.ts';
import { localOrigin } from './local-origin.ts';
import { MeshControl, type MeshSeed } from './mesh-control.ts';
import { MeshJobs } from './mesh-jobs.ts';
import { nodeViews, statusReport } from './node-views.ts';
import { newJobId, type OriginService } from './origin-service.ts';
import { OwnState } from './own-state.ts';
import { RunnerHost } from './runner-host.ts';
import { Sampler } from './sampler.ts';
import { TOOL_RULES } from './tool-rules.ts';
import { VERSION } from './version.ts';

export interface LocalNodeOptions {
  readonly home: Home;
  readonly config: Config;
  readonly lists: ClassLists;
  readonly log: Logger;
  readonly audit: AuditLog;
  readonly login: LoginEnvironment;
  readonly user: RunRequest['user'];
  readonly probe: NodeProbe;
  readonly directories: LocalDirectories;
  readonly identity: LoadedIdentity;
  readonly name: string;
  readonly random: Random;
  readonly history: HistoryStore;
  readonly newLeaseId: () => LeaseId;
  readonly runnerPath: string;
  readonly mdnsWorkerUrl: URL;
  /** The bundled thread that works on projects' files. */
  readonly workspaceWorkerUrl: URL;
  /** Of `up`, as this daemon was started; not `detached`: whoever started it starts the next one. */
  readonly flags: { readonly words: readonly string[]; readonly detached: boolean };
}

/** Why a daemon ends. `comesBack`: another one takes its runner and its jobs over. */
export interface Ending {
  readonly why: string;
  readonly comesBack: boolean;
}

/** This node whole: its mesh, its jobs as origin and as executor, its runner, and what the control socket asks of it. */
export class LocalNode {
  readonly #options: LocalNodeOptions;
  readonly #loop: CoreLoop;
  readonly #state: OwnState;
  readonly #sampler: Sampler;
  readonly #runner: RunnerHost;
  readonly #origin: Origin;
  readonly #executor: Executor;
  readonly #origins: OriginService;
  readonly #executors: ExecutorService;
  readonly #explain: ExplainService;
  readonly #jobs: MeshJobs;
  readonly #ends = new JobEnds({
    self: () => this.id,
    link: (node) => this.#mesh.links.get(node),
    receive: (from, message) => this.#receive(from, message),
  });
  readonly #control: MeshControl;
  readonly #down: Promise<Ending>;
  #settleDown: (ending: Ending) => void = () => undefined;
  #draining = false;
  /** Under which id this node ran its own jobs: who leaves a mesh gets another. */
  #selfBefore: NodeId | null = null;
  #restarting = false;

  constructor(options: LocalNodeOptions) {
    const { config, log, random } = options;
    this.#options = options;
    const stackOf = (error: unknown): string => (error instanceof Error ? (error.stack ?? '') : '');
    this.#loop = new CoreLoop((error) =>
      log.error('a step failed', { error: messageOf(error), stack: stackOf(error) }),
    );
    this.#down = new Promise((resolve) => {
      this.#settleDown = resolve;
    });
    this.#state = new OwnState({
      ...options,
      jobs: () => ({
        running: this.#executor.jobsRunning,
        queued: this.#origin.jobsQueued,
        slotsFree: this.#executor.slotsFree,
      }),
    });
    this.#sampler = new Sampler({
      onSlept: (gapMs) => this.#mesh.woke(gapMs),
      // Others may have fewer slots than this node's own jobs.
      onSample: () =>
        this.#mesh.loadSampled({ ...this.#state.load(), slots_free: this.#executor.slotsFreeFor(null, nowMs()) }),
      onAddressesDue: () => this.#mesh.lookAtAddresses(),
    });
    this.#control = new MeshControl({
      home: options.home,
      identity: options.identity,
      log,
      audit: options.audit,
      name: options.name,
      user: options.login.user,
      config,
      startMesh: (seed) => this.#startMesh(seed),
    });
    this.#runner = new RunnerHost({
      runnerPath: options.runnerPath,
      home: options.home,
      logBytesMax: config.jobs.output_max_bytes,
      contain: config.exec.contain === 'auto',
      log,
      onLost: (message) => this.#executors.runnerLost(message),
    });
    const { origin, service } = this.#newOrigin();
    this.#origin = origin;
    this.#origins = service;
    this.#executor = new Executor({
      slots: 0,
      facts: () => this.#state.facts(),
      load: () => this.#state.load(),
      self: () => this.id,
      instance: () => this.#runner.runner?.instance ?? 'none',
      newLeaseId: options.newLeaseId,
      share: { onBattery: config.share.on_battery, yieldToOwner: config.share.yield_to_owner },
    });
    const basis = { rules: TOOL_RULES, random, historyOf: options.history.of };
    this.#explain = new ExplainService(this.#origin, basis, (to, message) => this.#toExecutor(to, message));
    this.#executors = this.#newExecutorService();
    this.#jobs = this.#newMeshJobs();
  }

  get id(): NodeId {
    return this.#control.id;
  }

  get port(): number {
    return this.#mesh.port;
  }

  /** Settles when `down` or `restart` was asked for. */
  get whenDown(): Promise<Ending> {
    return this.#down;
  }

  /** @throws MeshError where the port, the roster or the runner stands in the way */
  async start(): Promise<void> {
    const { probe } = this.#options;
    const [detected] = await Promise.all([probe.start((facts) => this.#factsChanged(facts)), this.#runner.start()]);
    this.#factsChanged(detected);
    this.#executors.restore();
    await this.#control.start();
    this.#origins.restore();
    this.#sampler.start();
  }

  async stop(why: string): Promise<void> {
    this.#sampler.stop();
    this.#options.probe.stop();
    this.#origins.cancelAll();
    await this.#runner.stop();
    await this.#control.stop(why);
    this.#loop.stop();
    await Promise.all([this.#executors.close(), this.#origins.release()]);
  }

  /** Leaves the runner, what runs in it and what was submitted here to the next daemon. */
  async release(why: string): Promise<void> {
    this.#sampler.stop();
    this.#options.probe.stop();
    // From here no machine takes a lost link or a client that is gone for what it looks like.
    this.#loop.stop();
    await Promise.all([this.#executors.close(), this.#origins.release()]);
    this.#runner.release();
    await this.#control.stop(why);
  }

  get handlers(): ApiHandlers {
    const control = this.#control;
    return {
      status: async () =>
        statusReport(
          this.#mesh,
          this.id,
          { facts: this.#state.facts(), load: this.#state.load() },
          this.#notices(),
          nowMs(),
        ),
      settings: () => this.#state.settings(),
      explain: async ({ spec }) => this.#explain.explain(await prepareJob(newJobId(), spec, this.#options)),
      invite: async ({ ttl_ms: ttlMs, admin }) => control.invite(ttlMs, admin),
      join: (params) => control.join(params, this.#jobsOpen),
      leave: () => control.leave(),
      down: ({ drain }) => this.#goDown(drain),
      submit: ({ spec }, streams, onEvent, parent) => {
        if (this.#draining) throw new MeshError('refused', 'this node is going down; nothing was run');
        const { jobs_max: jobsMax } = this.#options.config.queue;
        if (this.#origin.jobsQueued >= jobsMax) {
          throw new MeshError('queue_full', `${jobsMax} jobs wait here already (queue.jobs_max); nothing was run`);
        }
        const nested = parent === null ? null : { parent: parent.job, nesting: parent.depth };
        return this.#origins.submit(spec, streams, onEvent, nested);
      },
      ...this.#jobs.handlers,
      attach: ({ job, stdout_offset: stdout, stderr_offset: stderr }, streams, onEvent) =>
        this.#origins.attach(job, streams, { stdout, stderr }, onEvent),
      clientGone: (job) => {
        // A client of a daemon that is restarted comes back to the next one.
        if (!this.#restarting) this.#origins.cancel(job);
      },
      detach: ({ job }) => this.#origins.detach(job),
      resize: ({ job, size }) => this.#origins.resize(job, size),
      estimate: async ({ cwd, commands }) => ({ seconds: await this.#options.history.estimates(cwd, commands) }),
      restart: () => Promise.resolve(this.#goDownForAnother()),
      projects: NO_PROJECTS,
      nesting: {
        depthOf: (job) => (isJobId(job) ? (this.#executors.nestingOf(job) ?? this.#origins.nestingOf(job)) : null),
        isWithin: (name, parent) => this.#origins.isWithin(name, parent),
      },
    };
  }

  get #mesh(): Mesh {
    return this.#control.mesh;
  }

  async #startMesh(seed: MeshSeed): Promise<Mesh> {
    const { config, log, random, home, mdnsWorkerUrl, name } = this.#options;
    const mesh = await Mesh.start(
      {
        ...seed,
        home,
        loop: this.#loop,
        log,
        random,
        name,
        productVersion: VERSION,
        listen: { host: config.listen.host, port: seed.port ?? config.listen.port },
        peers: [...config.peers, ...seed.peers],
        discovery: config.mdns ? createDiscovery({ workerUrl: mdnsWorkerUrl, log }) : null,
        onJob: (from, message) => this.#receive(from, message),
        onQuery: (from, message) => this.#jobs.receive(from, message),
        onPeerUp: (peer) => this.#origins.linkUp(peer),
        onPeerDown: (peer) => {
          this.#origins.linkDown(peer);
          this.#executors.linkDown(peer);
          this.#jobs.linkDown(peer);
        },
        onChanged: () => this.#origins.nodesChanged(),
        onRevoked: () => this.#executors.endForeign((node) => this.#mesh.trust.members.has(node)),
      },
      this.#state.facts(),
      this.#state.load(),
    );
    // Of a mesh that was left, or of a node that was revoked while this one was away.
    this.#executors.endForeign((node) => mesh.trust.members.has(node));
    if (this.#selfBefore !== null && this.#selfBefore !== this.id) this.#origins.linkDown(this.#selfBefore);
    this.#selfBefore = this.id;
    return mesh;
  }

  #newOrigin() {
    return localOrigin({
      ...this.#options,
      loop: this.#loop,
      nodes: () => this.#views(),
      isMember: (node) => node === this.id || this.#mesh.trust.members.has(node),
      self: () => ({ id: this.id, name: this.#options.name }),
      executor: this.#ends.executor,
      factsOf: (node) => (node === this.id ? this.#state.facts() : (this.#mesh.member(node)?.facts ?? null)),
      prepare: (job, spec) => prepareJob(job, spec, this.#options),
    });
  }

  #newExecutorService(): ExecutorService {
    return localExecutor(this.#options, {
      loop: this.#loop,
      executor: this.#executor,
      origin: this.#ends.origin,
      runner: () => this.#runner.runner,
      self: () => this.id,
      trust: () => this.#mesh.trust,
      isDraining: () => this.#draining,
      told: () => ({
        self: this.id,
        facts: this.#state.facts(),
        nameOf: (node) => this.#mesh.member(node)?.facts?.name ?? '',
      }),
    });
  }

  #newMeshJobs(): MeshJobs {
    return new MeshJobs({
      log: this.#options.log,
      self: () => this.id,
      nodeName: this.#options.name,
      mesh: () => this.#mesh,
      origin: this.#origins,
      executor: this.#executors,
      runner: () => this.#runner.runner,
    });
  }

  /** Messages for the executor come from origins, the others are answers of executors. */
  #receive(from: NodeId, message: JobMessage): void {
    switch (message.t) {
      case 'job.reserve':
      case 'job.release':
      case 'job.start':
      case 'job.cancel':
      case 'job.attach':
      case 'job.detach':
      case 'job.ack':
      case 'job.resize':
        return this.#executors.receive(from, message);
      default:
        if (!this.#explain.receive(from, message)) this.#origins.receive(from, message);
    }
  }

  #toExecutor(to: NodeId, message: JobMessage): boolean {
    return this.#ends.executor(to)?.send(message) ?? false;
  }

  #views() {
    return nodeViews(this.#mesh, this.id, this.#state.facts(), this.#state.load(), nowMs());
  }

  #factsChanged(detected: DetectedFacts): void {
    this.#state.detected(detected);
    this.#executors.slotsChanged(slotCount(this.#options.config, detected.cores));
    this.#control.factsChanged(this.#state.facts());
    this.#origins.nodesChanged();
  }

  #notices(): string[] {
    const { warning } = this.#options.login;
    const { notice } = this.#executors;
    return [
      ...(warning === null ? [] : [`jobs here get a minimal environment: ${warning}`]),
      ...(notice === null ? [] : [notice]),
      ...this.#origins.notices,
      ...unknownEnds(this.#origins.records(), Date.now()),
    ];
  }

  /** Submitted here or running here; a job may be both. */
  get #jobsOpen(): number {
    return new Set([...this.#origins.openJobs, ...this.#executors.runningJobs]).size;
  }

  async #goDown(drain: boolean) {
    this.#draining = true;
    const jobs = this.#jobsOpen;
    if (drain) await Promise.all([this.#origins.whenIdle(), this.#executors.whenIdle()]);
    // The answer goes out before the node goes down.
    setImmediate(() => this.#settleDown({ why: 'asked to', comesBack: false }));
    return { jobs_ended: drain ? 0 : jobs };
  }

  #goDownForAnother() {
    this.#draining = true;
    this.#restarting = true;
    const { flags } = this.#options;
    setImmediate(() => this.#settleDown({ why: 'restart', comesBack: true }));
    return { jobs_running: this.#jobsOpen, flags: flags.words, env: settingsOf(process.env), detached: flags.detached };
  }
}

const settingsOf = (env: NodeJS.ProcessEnv): Record<string, string> =>
  Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) =>
      name.startsWith('MESHWORK_') && value !== undefined ? [[name, value]] : [],
    ),
  );
