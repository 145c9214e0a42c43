import { setTimeout as delay } from 'node:timers/promises';
import { createDiscovery } from '../adapters/mdns/discovery.ts';
import { MeshError, messageOf, stackOf } from '../base/errors.ts';
import { isJobId, type JobId, type NodeId } from '../base/ids.ts';
import { Executor } from '../core/jobs/executor.ts';
import type { Origin } from '../core/scheduling/origin.ts';
import type { DetectedFacts } from '../ports/system.ts';
import { NESTING_MAX, type JobSpec } from '../wire/job-spec.ts';
import type { JobMessage } from '../wire/jobs.ts';
import { slotCount } from './config.ts';
import type { ApiHandlers } from './control-server.ts';
import { CoreLoop, nowMs } from './core-loop.ts';
import type { ExecutorService } from './executor-service.ts';
import { ExplainService } from './explain-service.ts';
import { JobEnds } from './job-ends.ts';
import { unknownEnds } from './job-lists.ts';
import { prepareJob } from './job-preparation.ts';
import { localExecutor } from './local-executor.ts';
import { Mesh } from './mesh.ts';
import { COLLECT_MS_MAX, type Ending, type LocalNodeOptions } from './local-node-options.ts';
import { LocalProjects, workspaceThread } from './local-projects.ts';
import { localOrigin } from './local-origin.ts';
import { MeshControl, type MeshSeed } from './mesh-control.ts';
import { MeshJobs } from './mesh-jobs.ts';
import { nodeViews, statusReport, unheardMembers } from './node-views.ts';
import { newJobId, type OriginService } from './origin-service.ts';
import { ProjectRequests } from './project-requests.ts';
import type { WorkspaceThread } from '../adapters/workspace/workspace-thread.ts';
import { OwnState, settingsOfEnv } from './own-state.ts';
import { RunnerHost } from './runner-host.ts';
import { Sampler } from './sampler.ts';
import { TOOL_RULES } from './tool-rules.ts';
import { VERSION } from './version.ts';

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
  readonly #files: WorkspaceThread;
  readonly #projects: LocalProjects;
  readonly #down: Promise<Ending>;
  #settleDown: (ending: Ending) => void = () => undefined;
  #draining = false;
  /** Under which id this node ran its own jobs: who leaves a mesh gets another. */
  #selfBefore: NodeId | null = null;
  #restarting = false;

  constructor(options: LocalNodeOptions) {
    const { config, log, random } = options;
    this.#options = options;
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
      ...options,
      user: options.login.user,
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
    this.#files = workspaceThread(options);
    this.#projects = this.#newProjects();
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
    this.#explain = new ExplainService(
      this.#origin,
      basis,
      (to, message) => this.#ends.executor(to)?.send(message) ?? false,
    );
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
    await this.#executors.restore();
    await this.#control.start();
    this.#jobs.begin();
    this.#origins.restore();
    this.#sampler.start();
    this.#projects.start();
  }

  async stop(why: string): Promise<void> {
    this.#sampler.stop();
    this.#options.probe.stop();
    this.#origins.cancelAll();
    this.#projects.stop();
    await this.#runner.stop();
    // What jobs changed in workspaces here is collected and told before the links go down.
    await Promise.race([this.#executors.whenIdle(), delay(COLLECT_MS_MAX)]);
    await this.#control.stop(why);
    this.#loop.stop();
    await Promise.all([this.#executors.close(), this.#origins.release(), this.#files.stop()]);
  }

  /** Leaves the runner, what runs in it and what was submitted here to the next daemon. */
  async release(why: string): Promise<void> {
    this.#sampler.stop();
    this.#options.probe.stop();
    // From here no machine takes a lost link or a client that is gone for what it looks like.
    this.#loop.stop();
    this.#projects.stop();
    await Promise.all([this.#executors.close(), this.#origins.release(), this.#files.stop()]);
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
      explain: ({ spec }) => this.#explainJob(newJobId(), spec),
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
      projects: new ProjectRequests({
        files: this.#files,
        projects: this.#projects,
        find: (prefix) => this.#origins.find(prefix),
        nameOf: (node) => this.#mesh.member(node)?.facts?.name ?? '',
      }),
      nesting: {
        depthOf: (job) => this.#depthOf(job),
        isWithin: (name, parent) => this.#origins.isWithin(name, parent),
      },
    };
  }

  /** What prepares a workspace may submit nothing. */
  #depthOf(job: string): number | null {
    if (this.#projects.preparer.isPreparing(job)) return NESTING_MAX;
    return isJobId(job) ? (this.#executors.nestingOf(job) ?? this.#origins.nestingOf(job)) : null;
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
        onWorkspace: (from, message) => this.#projects.receive(from, message),
        onPeerUp: (peer) => {
          for (const part of [this.#origins, this.#jobs]) part.linkUp(peer);
        },
        onPeerDown: (peer) => {
          for (const part of [this.#origins, this.#executors, this.#projects, this.#jobs]) part.linkDown(peer);
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
      unheard: () => unheardMembers(this.#mesh, this.id),
      settledAtMs: () => this.#mesh.settledAtMs,
      isMember: (node) => node === this.id || this.#mesh.trust.members.has(node),
      self: () => ({ id: this.id, name: this.#options.name }),
      executor: this.#ends.executor,
      factsOf: (node) => (node === this.id ? this.#state.facts() : (this.#mesh.member(node)?.facts ?? null)),
      prepare: (job, spec) => prepareJob(job, spec, { ...this.#options, projects: this.#projects.service }),
      projects: this.#projects,
    });
  }

  #newProjects(): LocalProjects {
    return new LocalProjects({
      ...this.#options,
      files: this.#files,
      runner: () => this.#runner.runner,
      self: () => ({ id: this.id, name: this.#options.name }),
      isAlone: () => this.#mesh.trust.members.size <= 1,
      link: (node) => this.#mesh.links.get(node),
      holdsLease: (from, key) => this.#executor.holdsLease(from, key, nowMs()),
      postLease: (input) => this.#executors.postLease(input),
    });
  }

  async #explainJob(job: JobId, spec: JobSpec) {
    const projects = this.#projects.service;
    try {
      return await this.#explain.explain(await prepareJob(job, spec, { ...this.#options, projects }));
    } finally {
      projects.forget(job);
    }
  }

  #newExecutorService(): ExecutorService {
    return localExecutor(this.#options, {
      loop: this.#loop,
      executor: this.#executor,
      origin: this.#ends.origin,
      runner: () => this.#runner.runner,
      self: () => this.id,
      trust: () => this.#mesh.trust,
      workspaces: this.#projects.sessions,
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
    const minimal = warning === null ? null : `jobs here get a minimal environment: ${warning}`;
    const own = [minimal, this.#executors.notice].filter((notice) => notice !== null);
    return [...own, ...this.#origins.notices, ...unknownEnds(this.#origins.records(), Date.now())];
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
    return {
      jobs_running: this.#jobsOpen,
      flags: flags.words,
      env: settingsOfEnv(process.env),
      detached: flags.detached,
    };
  }
}
