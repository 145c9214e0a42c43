import { isJobId, type NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { Runner } from '../ports/runner.ts';
import type { QueryMessage } from '../wire/job-query.ts';
import type { ApiHandlers } from './control-server.ts';
import { JobAnswers } from './job-answers.ts';
import { JobDirectory } from './job-directory.ts';
import { JobOutput } from './job-output.ts';
import { JobQuestions } from './job-questions.ts';
import type { ExecutorJobs, OriginJobs } from './job-sources.ts';
import type { Mesh } from './mesh.ts';
import { OutputSink } from './output-sink.ts';
import { OwnJobs } from './own-jobs.ts';
import { RunnerOutput } from './own-output.ts';

export interface MeshJobsOptions {
  readonly log: Logger;
  readonly self: () => NodeId;
  readonly nodeName: string;
  readonly mesh: () => Mesh;
  readonly origin: OriginJobs;
  readonly executor: ExecutorJobs;
  readonly runner: () => Runner | null;
}

/** Jobs of the mesh as a whole: what this node's clients ask of them, and what other members ask this node. */
export class MeshJobs {
  readonly #options: MeshJobsOptions;
  readonly #questions: JobQuestions;
  readonly #answers: JobAnswers;
  readonly #directory: JobDirectory;
  readonly #output: JobOutput;

  constructor(options: MeshJobsOptions) {
    this.#options = options;
    const { log, self, nodeName, mesh, origin, executor } = options;
    const own = new OwnJobs({ self, nodeName, origin, executor, output: new RunnerOutput(options.runner) });
    const questions = new JobQuestions({
      send: (to, message) => mesh().links.get(to)?.send(message) ?? false,
      nameOf: (node) => this.#nameOf(node),
    });
    const members = () => this.#others().map((id) => ({ id, name: this.#nameOf(id) }));
    this.#questions = questions;
    this.#answers = new JobAnswers({
      log,
      jobs: own,
      mayAsk: (node) =>
        mesh()
          .trust.members.get(node)
          ?.roles.some((role) => role !== 'run') === true,
      peer: (node) => mesh().links.get(node),
    });
    const directory = new JobDirectory({ self, own, questions, members });
    this.#directory = directory;
    this.#output = new JobOutput({
      self,
      own,
      directory,
      questions,
      muxOf: (node) => mesh().links.get(node)?.mux ?? null,
    });
  }

  get handlers(): Pick<ApiHandlers, 'cancel' | 'jobs' | 'job' | 'wait' | 'logs'> {
    const { origin } = this.#options;
    return {
      cancel: async ({ job }, signal) => {
        // The usual case, a client that ends what it submitted, asks nobody else.
        if (isJobId(job) && origin.cancel(job)) return { cancelled: true, job };
        return this.#directory.cancel(job, signal);
      },
      jobs: ({ all }, signal) => this.#directory.jobs(all, signal),
      job: ({ job }, signal) => this.#directory.find(job, signal),
      wait: ({ job, wait_ms: waitMs }, signal) => this.#directory.wait(job, waitMs, signal),
      logs: async ({ job, attempt, stream, offset, follow }, to, signal) => {
        // By hand, as in links.ts: the client may stay for days.
        const gone = new AbortController();
        const leave = (): void => gone.abort();
        signal.addEventListener('abort', leave);
        if (signal.aborted) leave();
        const sink = new OutputSink(to, leave);
        try {
          const read = await this.#output.read({ job, attempt, stream, offset, follow }, sink, gone.signal);
          sink.end();
          return read;
        } catch (error) {
          sink.abort();
          throw error;
        } finally {
          signal.removeEventListener('abort', leave);
        }
      },
    };
  }

  receive(from: NodeId, message: QueryMessage): void {
    if (message.t === 'query.answer') this.#questions.receive(from, message.id, message.answer);
    else this.#answers.receive(from, message);
  }

  /** This node has just started. */
  begin(): void {
    const { links } = this.#options.mesh();
    for (const node of this.#others()) if (links.get(node) === null) this.#questions.linkExpected(node);
  }

  linkUp(peer: NodeId): void {
    this.#questions.linkUp(peer);
  }

  linkDown(peer: NodeId): void {
    this.#questions.linkDown(peer);
    this.#answers.linkDown(peer);
  }

  #others(): NodeId[] {
    const { mesh, self } = this.#options;
    return [...mesh().trust.members.keys()].filter((id) => id !== self());
  }

  #nameOf(node: NodeId): string {
    const mesh = this.#options.mesh();
    return mesh.member(node)?.facts.name ?? mesh.trust.members.get(node)?.name ?? node.slice(0, 8);
  }
}
