import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { base32, makeJobId, type JobId, type LeaseId, type NodeId } from '../../../src/base/ids.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { Executor } from '../../../src/core/jobs/executor.ts';
import { AttemptJournal } from '../../../src/node/attempt-journal.ts';
import type { AttemptWorkspaces } from '../../../src/node/attempt-workspaces.ts';
import type { AuditEntry } from '../../../src/node/audit-log.ts';
import { CoreLoop } from '../../../src/node/core-loop.ts';
import { ExecutorService } from '../../../src/node/executor-service.ts';
import type {
  AttemptName,
  KeptAttempt,
  ReadRequest,
  RunHandlers,
  Runner,
  RunResult,
} from '../../../src/ports/runner.ts';
import type { JobMessage, JobMessageOf } from '../../../src/wire/jobs.ts';
import { NO_CHANGE_PACK } from '../../../src/wire/changes.ts';
import { STREAM_WINDOW_BYTES } from '../../../src/wire/stream-mux.ts';
import { PLAIN_ATTEMPT } from '../../fixtures/plain-spec.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';
import { FACTS, LOAD, NO_REQUIREMENTS } from '../core/scheduling/nodes.ts';
import { JoinedMuxes, numbered } from '../wire/joined-muxes.ts';

const folder = temporaryFolders();
const nodeId = (number: number): NodeId => base32(new Uint8Array(33).fill(number)).slice(0, 52) as NodeId;
const [SELF, ORIGIN] = [nodeId(1), nodeId(2)];
const JOB: JobId = makeJobId(1, new Uint8Array(16));
const key = { job: JOB, attempt: 1 };
const command = { kind: 'line', line: 'make all' } as const;
const RESULT: RunResult = {
  outcome: { kind: 'exited', code: 3 },
  stdoutBytes: 10,
  stderrBytes: 0,
  truncated: false,
  leftRunning: 0,
  durationMs: 5,
};

/** A runner that does nothing by itself; what it is told is in `calls`. */
class StubRunner implements Runner {
  readonly instance = 'runner-1';
  readonly wire = new JoinedMuxes();
  readonly calls: string[] = [];
  readonly handlers = new Map<JobId, RunHandlers>();
  readonly reads: ReadRequest[] = [];
  readonly kept: readonly KeptAttempt[];

  constructor(kept: readonly KeptAttempt[] = []) {
    this.kept = kept;
  }

  readonly mux = this.wire.first;
  run: Runner['run'] = (request, handlers) => {
    this.calls.push(
      `run ${request.durable ? 'durable' : 'foreground'} ${request.stdoutStream === null ? 'unread' : 'read'}`,
    );
    this.handlers.set(request.job, handlers);
  };
  adopt = ({ job }: AttemptName, handlers: RunHandlers): void => {
    this.calls.push('adopt');
    this.handlers.set(job, handlers);
  };
  expect = (): void => void this.calls.push('expect');
  cancel = (): void => void this.calls.push('cancel');
  read: Runner['read'] = (request) => {
    this.reads.push(request);
    this.calls.push(`read ${request.stream} from ${request.offset}${request.holds ? ', holding' : ''}`);
  };
  detach = (): void => void this.calls.push('detach');
  park = (): void => void this.calls.push('park');
  resumeStdin: Runner['resumeStdin'] = (_name, _stream, onOffset) => {
    this.calls.push('stdin');
    onOffset(7);
  };
  resize: Runner['resize'] = (_name, { columns, rows }) => void this.calls.push(`resize ${columns}×${rows}`);
  acknowledge = (): void => void this.calls.push('acknowledge');
  drop = (): void => void this.calls.push('drop');
}

const reserve: JobMessageOf<'job.reserve'> = {
  t: 'job.reserve',
  ...key,
  dry_run: false,
  command,
  requires: NO_REQUIREMENTS,
  cwd: {
    path: '/work',
    home_relative: null,
    boot_id: null,
    device: '1',
    inode: '2',
    clean_commit: null,
    git_prefix: null,
  },
  tools: [],
  explicit: false,
  workspace: false,
  parent: null,
};

/** A daemon's executor, a link to its origin that can be cut, and a home that outlives it. */
class Rig {
  readonly sent: JobMessage[] = [];
  readonly audited: AuditEntry['event'][] = [];
  readonly loop = new CoreLoop((error) => {
    throw error;
  });
  link: JoinedMuxes | null = new JoinedMuxes();
  readonly executors: ExecutorService;
  readonly attempts: AttemptJournal;
  readonly runner: StubRunner;
  readonly restored: Promise<void>;

  constructor(
    home: string,
    runner: StubRunner,
    bounds: { readonly attemptsMax?: number } = {},
    workspaces: AttemptWorkspaces | null = null,
  ) {
    this.runner = runner;
    const limits = { ageMsMax: 1e12, bytesMax: 1e12, attemptsMax: 100, logBytesMax: 1e6, ...bounds };
    this.attempts = AttemptJournal.open(join(home, 'executor.journal'), limits, silentLogger);
    const executor = new Executor({
      slots: 1,
      self: () => SELF,
      share: { onBattery: false, yieldToOwner: true },
      facts: () => FACTS,
      load: () => LOAD,
      instance: () => runner.instance,
      newLeaseId: () => 'a'.repeat(26) as LeaseId,
    });
    this.executors = new ExecutorService({
      loop: this.loop,
      executor,
      log: silentLogger,
      audit: { append: ({ event }) => void this.audited.push(event), close: () => undefined },
      origin: () => this.#end(),
      runner: () => runner,
      check: () => Promise.resolve({ ok: true, cwd: '/work', toolsFound: [] }),
      attempts: this.attempts,
      self: () => ({ self: SELF, facts: FACTS, nameOf: () => 'other' }),
      login: { env: {}, home: '/', user: 'u', warning: null },
      user: null,
      environment: { commandsOnly: false, allow: [] },
      limits: { timeoutMsMax: null, outputBytesMax: null },
      ...(workspaces === null ? {} : { workspaces }),
    });
    this.restored = this.executors.restore();
  }

  #end() {
    const { link } = this;
    if (link === null) return null;
    return { mux: link.second, send: (message: JobMessage) => this.sent.push(message) > 0 };
  }

  /** What the origin was told since the last time. */
  told(): string[] {
    return this.sent.splice(0).map((message) => {
      if (message.t === 'job.attached')
        return `attached ${message.running ? 'running' : 'over'} ${message.stdin_offset}`;
      return message.t === 'job.gone' ? `gone ${message.kind}` : message.t.slice(4);
    });
  }

  receive(message: JobMessage): void {
    this.executors.receive(ORIGIN, message);
  }

  async start(spec: { readonly durable?: boolean } = {}, streams: JobMessageOf<'job.start'>['streams'] = null) {
    this.receive(reserve);
    await new Promise((resolve) => setImmediate(resolve));
    expect(this.told()).toEqual(['reserved']);
    const way = { env: {}, umask: 18, timeout_ms: null, stdin: streams?.stdin !== null, ...PLAIN_ATTEMPT, ...spec };
    const lease = 'a'.repeat(26) as LeaseId;
    const granted = { lease, cwd: '/work', streams, window_bytes: STREAM_WINDOW_BYTES };
    this.receive({ t: 'job.start', ...key, spec: { command, ...way }, ...granted });
  }

  end(): void {
    this.runner.handlers.get(JOB)?.onEnded(RESULT);
  }

  cut(): void {
    const { link } = this;
    this.link = null;
    link?.second.close();
    this.executors.linkDown(ORIGIN);
  }

  /** The origin asks over a new link, with these streams open at its end. */
  attach(streams: JobMessageOf<'job.attach'>['streams'], offset = 0): void {
    this.link ??= new JoinedMuxes();
    const offsets = { stdout_offset: offset, stderr_offset: 0, window_bytes: STREAM_WINDOW_BYTES };
    this.receive({ t: 'job.attach', ...key, instance: 'runner-1', streams, ...offsets });
  }

  /** As at SIGKILL: nothing is told to anybody. */
  async die(): Promise<void> {
    this.loop.stop();
    await this.executors.close();
  }
}

const STREAMS = { stdin: null, stdout: 1, stderr: 3 } as const;

describe('the executor service', () => {
  test('writes a start before the runner has it, the end before the runner may forget it, and the acknowledgement', async () => {
    const rig = new Rig(folder(), new StubRunner());
    await rig.start({ durable: true });
    expect(rig.runner.calls).toEqual(['run durable unread']);
    expect(rig.executors.records('')).toMatchObject([
      { job: JOB, state: 'running', background: true, origin: 'other' },
    ]);
    rig.runner.handlers.get(JOB)?.onStarted(1);
    rig.end();
    expect(rig.told()).toEqual(['started', 'ended']);
    expect(rig.runner.calls).toEqual(['run durable unread', 'acknowledge']);
    rig.receive({ t: 'job.ack', ...key });
    expect(rig.attempts.book.get(key)?.end?.acked).toBe(true);
    expect(rig.executors.records(JOB)).toMatchObject([{ state: 'finished', return_code: 3, reason: 'exited' }]);
    expect(rig.audited).toEqual(['start', 'end']);
    await rig.die();
  });

  test('holds the output of a foreground job while its link is away, and goes on from where the origin is', async () => {
    const rig = new Rig(folder(), new StubRunner());
    await rig.start({}, STREAMS);
    expect(rig.runner.calls).toEqual(['run foreground read']);
    rig.cut();
    expect(new Set(rig.runner.calls)).toEqual(new Set(['run foreground read', 'park']));
    expect(rig.executors.isRunning(JOB)).toBe(true);
    rig.runner.calls.length = 0;
    rig.attach({ ...STREAMS, stdin: 5 }, 9);
    expect(rig.runner.calls).toEqual(['read stdout from 9, holding', 'read stderr from 0, holding', 'stdin']);
    expect(rig.told()).toEqual(['attached running 7']);
    await rig.die();
  });

  test('tells the end only after the last byte that was read again', async () => {
    const rig = new Rig(folder(), new StubRunner());
    await rig.start({}, STREAMS);
    rig.cut();
    rig.end();
    expect(rig.told()).toEqual([]);
    rig.attach(STREAMS);
    expect(rig.runner.calls.slice(-2)).toEqual(['read stdout from 0', 'read stderr from 0']);
    expect(rig.told()).toEqual(['attached over 0']);
    const received: number[] = [];
    const ignore = { onEnd: () => undefined, onAbort: () => undefined };
    for (const id of [STREAMS.stdout, STREAMS.stderr]) {
      rig.link?.first.openIncoming(id, STREAM_WINDOW_BYTES, { onData: (bytes) => received.push(...bytes), ...ignore });
    }
    const [stdout, stderr] = rig.runner.reads.map(({ streamId, windowBytes }) =>
      rig.runner.wire.second.openOutgoing(streamId, windowBytes, {}),
    );
    stdout?.write(numbered(0, 10));
    stderr?.end();
    rig.runner.wire.deliverAll();
    expect(rig.told()).toEqual([]);
    stdout?.end();
    rig.runner.wire.deliverAll();
    expect(rig.told()).toEqual(['ended']);
    rig.link?.deliverAll();
    expect(Uint8Array.from(received)).toEqual(numbered(0, 10));
    await rig.die();
  });

  test('does not tell the end over a link that is gone', async () => {
    const rig = new Rig(folder(), new StubRunner());
    await rig.start({}, STREAMS);
    rig.cut();
    rig.attach(STREAMS);
    rig.cut();
    rig.end();
    rig.link = new JoinedMuxes();
    expect(rig.told()).toEqual(['attached running 0']);
    rig.attach(null);
    expect(rig.told()).toEqual(['attached over 0', 'ended']);
    await rig.die();
  });

  test('passes on detach, resize and cancel', async () => {
    const rig = new Rig(folder(), new StubRunner());
    await rig.start({}, STREAMS);
    rig.runner.calls.length = 0;
    rig.receive({ t: 'job.resize', ...key, size: { columns: 80, rows: 24 } });
    rig.receive({ t: 'job.detach', ...key });
    expect(rig.executors.cancel(JOB)).toBe(true);
    expect(rig.runner.calls).toEqual(['resize 80×24', 'detach', 'park', 'cancel']);
    rig.end();
    expect(rig.told()).toEqual(['ended']);
    expect(rig.executors.cancel(JOB)).toBe(false);
    await rig.die();
  });

  test('ends what runs for a node that is no member any more, also what is durable', async () => {
    const rig = new Rig(folder(), new StubRunner());
    await rig.start({ durable: true });
    rig.cut();
    rig.executors.endForeign((node) => node === ORIGIN);
    expect(rig.runner.calls).not.toContain('cancel');
    rig.executors.endForeign((node) => node === SELF);
    expect(rig.runner.calls).toContain('cancel');
    await rig.die();
  });

  test('removes the output of the oldest, and remembers when', async () => {
    const rig = new Rig(folder(), new StubRunner(), { attemptsMax: 0 });
    await rig.start({ durable: true });
    expect(rig.runner.calls).not.toContain('drop');
    rig.end();
    expect(rig.runner.calls).toContain('drop');
    expect(rig.executors.records(JOB)).toEqual([]);
    expect(rig.executors.droppedAt(JOB)).toBeGreaterThan(0);
    await rig.die();
  });
});

describe('a daemon that starts again', () => {
  test('takes up what runs, with its slot, before anybody is served', async () => {
    const home = folder();
    const first = new Rig(home, new StubRunner());
    await first.start({ durable: true });
    await first.die();
    const runner = new StubRunner([{ ...key, kind: 'running', durable: true, stdinBytes: 0 }]);
    const second = new Rig(home, runner);
    expect(runner.calls).toEqual(['adopt']);
    expect(second.executors.runningJobs).toEqual([JOB]);
    second.receive({ ...reserve, job: makeJobId(2, new Uint8Array(16)) });
    await new Promise((resolve) => setImmediate(resolve));
    expect(second.told()).toEqual(['refused']);
    second.attach(null);
    expect(second.told()).toEqual(['attached running 0']);
    second.end();
    expect(second.told()).toEqual(['ended', 'slot_free']);
    expect(second.executors.records(JOB)).toMatchObject([{ return_code: 3 }]);
    await second.die();
  });

  test('has the result of what ended meanwhile, and an unknown one of what nobody knows', async () => {
    for (const kept of [[{ ...key, kind: 'ended', result: RESULT } as const], []]) {
      const home = folder();
      const first = new Rig(home, new StubRunner());
      await first.start({ durable: true });
      await first.die();
      const second = new Rig(home, new StubRunner(kept));
      second.attach(null);
      const [, ended] = [...second.sent];
      expect(second.told()).toEqual(['attached over 0', 'ended']);
      expect(ended).toMatchObject({ outcome: { kind: kept.length === 1 ? 'exited' : 'unknown' } });
      expect(second.executors.runningJobs).toEqual([]);
      await second.die();
    }
  });

  test.each([
    ['runs on', [{ ...key, kind: 'running', durable: true, stdinBytes: 0 } as const]],
    ['ended meanwhile', [{ ...key, kind: 'ended', result: RESULT } as const]],
    ['nobody knows', []],
  ])('lets go of the workspace of what %s when its end is written down, not before', async (_what, kept) => {
    const home = folder();
    const first = new Rig(home, new StubRunner());
    await first.start({ durable: true });
    await first.die();
    const calls: string[] = [];
    const changes = { ...NO_CHANGE_PACK, changed: 1 };
    const ended = (): string => (second.attempts.book.get(key)?.end === null ? 'under way' : 'written down');
    const workspaces: AttemptWorkspaces = {
      leaseEnded: () => undefined,
      begin: () => false,
      release: () => void calls.push(`release ${ended()}`),
      isInUse: () => true,
      collect: async () => (calls.push(`collect ${ended()}`), changes),
      isWithin: () => true,
      restore: async () => void calls.push('restore'),
    };
    const second: Rig = new Rig(home, new StubRunner(kept), {}, workspaces);
    await second.restored;
    second.end();
    await new Promise((resolve) => setImmediate(resolve));
    expect(calls).toEqual(['restore', 'collect under way', 'release written down']);
    second.attach(null);
    expect(second.sent.at(-1)).toMatchObject({ t: 'job.ended', changes });
    await second.die();
  });

  test('ends what the runner has and its journal has not', async () => {
    const runner = new StubRunner([{ ...key, kind: 'running', durable: true, stdinBytes: 0 }]);
    const rig = new Rig(folder(), runner);
    expect(runner.calls).toEqual(['adopt', 'cancel']);
    rig.end();
    expect(runner.calls.slice(2)).toEqual(['acknowledge', 'drop']);
    rig.attach(null);
    expect(rig.told()).toEqual(['gone unknown']);
    await rig.die();
  });

  test('answers not_started for what never came, and unknown where a part of its journal is lost', async () => {
    const home = folder();
    const rig = new Rig(home, new StubRunner());
    rig.attach(null);
    expect(rig.told()).toEqual(['gone not_started']);
    await rig.die();
    writeFileSync(join(home, 'executor.journal'), 'this is no line of a journal\n');
    const damaged = new Rig(home, new StubRunner());
    damaged.attach(null);
    expect(damaged.told()).toEqual(['gone unknown']);
    await damaged.die();
  });
});
