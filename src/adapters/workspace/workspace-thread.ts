import { Worker } from 'node:worker_threads';
import type { Readable } from 'node:stream';
import { unreachable } from '../../base/assert.ts';
import { MeshError, messageOf } from '../../base/errors.ts';
import type { JobId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import { MS_PER_SECOND } from '../../base/units.ts';
import type {
  ApplyRequest,
  CollectRequest,
  OpenRequest,
  ProjectFiles,
  ScanRequest,
  WorkspaceFiles,
} from '../../ports/workspace.ts';
import type { ManifestHash } from '../../wire/manifest.ts';
import type { OperationName, Operations, ThreadSettings } from './operations.ts';
import { detachable, handOver, type FromWorkspaceThread, type ToWorkspaceThread } from './thread-messages.ts';
import { YoungGarbage } from './young-garbage.ts';

/** Calls that wait for the thread; a node has far fewer sessions and jobs than that. */
export const CALLS_OPEN_MAX = 4096;
const IDLE_MS = 60 * MS_PER_SECOND;
/** How long `stop` waits for the thread to come to a place where it yields. */
const STOP_MS_MAX = 2 * MS_PER_SECOND;
const LOG_CHARS_MAX = 2000;
/** A manifest of a million entries and what is made from it; beyond, the thread ends, not the daemon. */
const HEAP_MB_MAX = 1536;
const YOUNG_HEAP_MB_MAX = 16;

export interface WorkspaceThreadOptions extends ThreadSettings {
  /** The bundled `worker.ts`. */
  readonly workerUrl: URL;
  readonly log: Logger;
  /** Only tests give another than a minute. */
  readonly idleMs?: number;
  /** Only tests give another than 1.5 GiB. */
  readonly heapMb?: number;
}

interface OpenCall {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: MeshError) => void;
  readonly onProgress: ((value: number) => void) | null;
}

type Args<N extends OperationName> = Parameters<Operations[N]>;
/** The value of a promise that the operation returns. */
type Value<N extends OperationName> = Awaited<ReturnType<Operations[N]>>;

/**
 * Projects' files, worked on in a thread. It is started by the first call, ended after a minute without one, and started
 * again by the next call where it crashed: calls that were open then reject with MeshError `internal`, and what they had
 * done is on the disk as far as they came. Above {@link CALLS_OPEN_MAX} open calls they reject with `limit`.
 */
export class WorkspaceThread implements ProjectFiles, WorkspaceFiles {
  readonly #options: WorkspaceThreadOptions;
  readonly #calls = new Map<number, OpenCall>();
  /** Sources of packs are in the thread's memory: it is not idle while there is one. */
  readonly #sources = new Set<number>();
  readonly #garbage = new YoungGarbage();
  #thread: Worker | null = null;
  #lastId = 0;
  #idleTimer: NodeJS.Timeout | null = null;
  #isStopped = false;

  constructor(options: WorkspaceThreadOptions) {
    this.#options = options;
  }

  findProject = async (cwd: string, named: string | null): Promise<Value<'findProject'>> =>
    this.#call('findProject', [cwd, named]);

  scan = async (request: ScanRequest): Promise<Value<'scan'>> => this.#call('scan', [request]);

  cost = async (manifest: ManifestHash, base: ManifestHash | null): Promise<Value<'cost'>> =>
    this.#call('cost', [manifest, base]);

  encodeManifest = async (manifest: ManifestHash, base: ManifestHash | null): Promise<Uint8Array> =>
    this.#call('encodeManifest', [manifest, base]);

  encodeChanged = async (...args: Args<'encodeChanged'>): Promise<Value<'encodeChanged'>> =>
    this.#call('encodeChanged', args);

  openPacks = async (...args: Args<'openPacks'>): Promise<number | null> => {
    const source = await this.#call('openPacks', args);
    if (source !== null) this.#sources.add(source);
    return source;
  };

  nextPack = async (source: number, spent: ArrayBuffer | null = null): Promise<Value<'nextPack'>> => {
    const pack = await this.#call('nextPack', [source, spent]);
    if (pack.ok && pack.value !== null) this.#garbage.passed(pack.value.byteLength);
    return pack;
  };

  filesAfter = async (source: number): Promise<Value<'filesAfter'>> => this.#call('filesAfter', [source]);

  closePacks = async (source: number): Promise<void> => {
    this.#sources.delete(source);
    await this.#call('closePacks', [source]);
  };

  pinManifest = async (manifest: ManifestHash, job: JobId): Promise<void> => this.#call('pinManifest', [manifest, job]);

  unpinManifest = async (job: JobId): Promise<void> => this.#call('unpinManifest', [job]);

  unpinAllBut = async (jobs: readonly JobId[]): Promise<void> => this.#call('unpinAllBut', [jobs]);

  apply = async (request: ApplyRequest): Promise<Value<'apply'>> => this.#call('apply', [request]);

  open = async (request: OpenRequest): Promise<Value<'open'>> => this.#call('open', [request]);

  takeManifest = async (...args: Args<'takeManifest'>): Promise<Value<'takeManifest'>> =>
    this.#call('takeManifest', args);

  takePack = async (id: string, pack: Uint8Array): Promise<Value<'takePack'>> => {
    const packBytes = pack.byteLength;
    const taken = this.#call('takePack', [id, handOver(pack)], 'given');
    this.#garbage.passed(packBytes);
    return taken;
  };

  place = async (id: string, onProgress: (files: number) => void): Promise<Value<'place'>> =>
    this.#call('place', [id, onProgress]);

  digest = async (id: string, paths: readonly string[]): Promise<Value<'digest'>> => this.#call('digest', [id, paths]);

  readNote = async (id: string, name: string): Promise<string | null> => this.#call('readNote', [id, name]);

  writeNote = async (id: string, name: string, text: string): Promise<void> =>
    this.#call('writeNote', [id, name, text]);

  collect = async (request: CollectRequest): Promise<Value<'collect'>> => this.#call('collect', [request]);

  close = async (id: string): Promise<void> => this.#call('close', [id]);

  reopen = async (job: JobId, attempt: number): Promise<Value<'reopen'>> => this.#call('reopen', [job, attempt]);

  releaseAllBut = async (attempts: Args<'releaseAllBut'>[0]): Promise<void> => this.#call('releaseAllBut', [attempts]);

  list = async (): Promise<Value<'list'>> => this.#call('list', []);

  remove = async (names: readonly string[] | null): Promise<Value<'remove'>> => this.#call('remove', [names]);

  sweep = async (limits: Args<'sweep'>[0]): Promise<void> => this.#call('sweep', [limits]);

  /** Open calls reject with `internal`; the thread ends at its next yield, at the latest after two seconds. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#clearIdleTimer();
    const thread = this.#thread;
    this.#thread = null;
    this.#rejectAll('the daemon stops');
    if (thread !== null) await end(thread);
  }

  /** @param bytes `given`: the caller is done with the memory of byte arrays */
  async #call<N extends OperationName>(op: N, args: Args<N>, bytes: 'given' | 'kept' = 'kept'): Promise<Value<N>> {
    if (this.#isStopped) throw new MeshError('internal', `${op}: the workspace thread is stopped; nothing was done.`);
    if (this.#calls.size >= CALLS_OPEN_MAX) {
      throw new MeshError('limit', `${op}: ${CALLS_OPEN_MAX} calls wait for the workspace thread; nothing was done.`);
    }
    const thread = (this.#thread ??= this.#launch());
    this.#clearIdleTimer();
    const list: readonly unknown[] = args;
    const callback = list.findIndex((arg) => typeof arg === 'function');
    const given = list[callback];
    const transfer: ArrayBuffer[] = [];
    const plain = list.map((arg, index) => (index === callback ? null : detachable(arg, transfer, bytes === 'given')));
    const id = ++this.#lastId;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#calls.set(id, {
        resolve,
        reject,
        onProgress: typeof given === 'function' ? (value) => void Reflect.apply(given, null, [value]) : null,
      });
      // A daemon that has nothing else to do may end, but not in the middle of a call.
      thread.ref();
      thread.postMessage({ t: 'call', id, op, args: plain, callback } satisfies ToWorkspaceThread, transfer);
    });
    // The worker carries out the operation of that name: its value has that type.
    return (await answer) as Value<N>;
  }

  #launch(): Worker {
    const { workerUrl, folder, home, env, user, heapMb = HEAP_MB_MAX } = this.#options;
    const thread = new Worker(workerUrl, {
      name: 'workspace',
      workerData: { folder, home, env, user } satisfies ThreadSettings,
      resourceLimits: { maxOldGenerationSizeMb: heapMb, maxYoungGenerationSizeMb: YOUNG_HEAP_MB_MAX },
      stdout: true,
      stderr: true,
      env: {},
      execArgv: [],
    });
    thread.on('message', (message: FromWorkspaceThread) => this.#received(thread, message));
    thread.on('messageerror', (error) => this.#lost(thread, messageOf(error)));
    thread.on('error', (error) => this.#lost(thread, messageOf(error)));
    thread.on('exit', (code) => this.#lost(thread, `it ended with code ${code}`));
    this.#logOutput(thread.stdout);
    this.#logOutput(thread.stderr);
    return thread;
  }

  #received(thread: Worker, message: FromWorkspaceThread): void {
    if (thread !== this.#thread) return;
    const call = this.#calls.get(message.id);
    if (call === undefined) return;
    switch (message.t) {
      case 'progress':
        call.onProgress?.(message.value);
        return;
      case 'done':
        this.#calls.delete(message.id);
        call.resolve(message.value);
        break;
      case 'failed':
        this.#calls.delete(message.id);
        call.reject(new MeshError(message.code, message.message));
        break;
      default:
        unreachable(message);
    }
    if (this.#calls.size > 0) return;
    thread.unref();
    this.#clearIdleTimer();
    this.#idleTimer = setTimeout(() => this.#rest(thread), this.#options.idleMs ?? IDLE_MS);
    this.#idleTimer.unref();
  }

  #rest(thread: Worker): void {
    if (thread !== this.#thread || this.#calls.size > 0 || this.#sources.size > 0) return;
    this.#thread = null;
    end(thread).catch((error: unknown) => this.#options.log.debug('workspace thread', { error: messageOf(error) }));
  }

  /** The first cause of an end wins; the thread's own `exit` follows its `error`. */
  #lost(thread: Worker, reason: string): void {
    if (thread !== this.#thread) return;
    this.#thread = null;
    this.#sources.clear();
    this.#options.log.warn('the workspace thread is lost; the next call starts it again', { reason });
    this.#rejectAll(reason);
    thread
      .terminate()
      .catch((error: unknown) => this.#options.log.debug('workspace thread', { error: messageOf(error) }));
  }

  #rejectAll(reason: string): void {
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) {
      call.reject(new MeshError('internal', `the workspace thread was lost (${reason}); what it had done is kept.`));
    }
  }

  #clearIdleTimer(): void {
    if (this.#idleTimer !== null) clearTimeout(this.#idleTimer);
    this.#idleTimer = null;
  }

  #logOutput(output: Readable): void {
    const { log } = this.#options;
    output.setEncoding('utf8');
    output.on('data', (text: string) => log.warn('workspace thread', { text: text.slice(0, LOG_CHARS_MAX) }));
    output.on('error', (error: Error) => log.debug('workspace thread', { error: error.message }));
  }
}

async function end(thread: Worker): Promise<void> {
  await new Promise<void>((resolve) => {
    const deadline = setTimeout(resolve, STOP_MS_MAX);
    thread.once('exit', () => {
      clearTimeout(deadline);
      resolve();
    });
    const stop: ToWorkspaceThread = { t: 'stop' };
    thread.postMessage(stop, []);
  });
  await thread.terminate();
}
