import { setMaxListeners } from 'node:events';
import { MeshError } from '../../base/errors.ts';
import { MIB } from '../../base/units.ts';
import { batchDocument } from './batch-report.ts';
import type { BatchEntry } from './batch-form.ts';
import type { Daemon } from './daemon-connection.ts';
import { refusalReport } from '../../node/api-refusal.ts';
import { closeOutcome, meshworkFailed, runJob, type JobOutcome } from './job-run.ts';
import { jobTemplateOf, shellLineOf, type JobTemplate } from './job-request.ts';
import { KEPT_BYTES_MAX, OutputCapture } from './output-capture.ts';
import { batchSchema } from './result-schemas.ts';
import { boundedRun } from './run-report.ts';
import { batchArguments, jsonSchemaOf, LATER_BATCH, parseArguments } from './tool-arguments.ts';
import type { ToolParts } from './tool-parts.ts';
import type { Tool, ToolContext, ToolResult } from './tool.ts';

/** Commands under way at once: more than a small mesh has slots; the origin's queue places them late. */
const SUBMITTED_MAX = 64;
/** Memory for the outputs of one batch, both streams of all its commands. */
const BATCH_KEPT_BYTES_MAX = 64 * MIB;
/** Streams of one batch that get a file of their own; what else is too long keeps its beginning and end. */
const STREAM_FILES_MAX = 16;

/** `parallel_execute`: many independent commands, spread over the mesh. */
export function parallelExecute(parts: ToolParts): Tool {
  return {
    name: 'parallel_execute',
    title: 'Run many commands across the machines',
    description: `Runs independent shell commands (up to 2,000) at the same time, each on the least-loaded capable machine of the user's own mesh. Use it for test files one by one, shards, builds of several packages, or the same check over many inputs. The commands must not depend on each other or write the same files: their order is not fixed.

cwd, env, timeout_s and requirements count for every command. Pass an absolute cwd inside the project. A command that is invalid or fails spoils only its own entry.

The results come in the order of the commands, each with its command, return_code, stdout and stderr. \`succeeded\` and \`failed\` count them. Where the whole is too long, failures keep their output first, and a notice names the file that holds every result. Read \`notices\` first.`,
    inputSchema: jsonSchemaOf(batchArguments, 'input'),
    outputSchema: batchSchema,
    readOnly: false,
    alwaysLoad: true,
    run: (args, context) => execute(parts, args, context),
  };
}

async function execute(parts: ToolParts, args: unknown, context: ToolContext): Promise<ToolResult> {
  const parsed = parseArguments(batchArguments, args, LATER_BATCH);
  if (!parsed.ok) return refused(parsed.error);
  const { commands, ...placement } = parsed.value;
  const startedMs = performance.now();
  try {
    const daemon = await parts.connection.daemon();
    const template = await jobTemplateOf(placement, { kind: 'any' }, { ...parts, settings: daemon.settings });
    if (!template.ok) return refused(template.error);
    const batch = new Batch(parts, daemon, template.value, commands, context);
    const entries = await batch.run();
    try {
      const wallMs = performance.now() - startedMs;
      const openFile = () => parts.files.create(`batch-${Date.now().toString(36)}-${process.pid}-${nextBatch()}.jsonl`);
      const nothingRan = entries.every(({ outcome }) => meshworkFailed(outcome.run));
      return { document: batchDocument(entries, { wallMs, openFile }), isError: nothingRan };
    } finally {
      for (const { outcome } of entries) closeOutcome(outcome);
    }
  } catch (error) {
    return refused(error);
  }
}

let batches = 0;
const nextBatch = (): number => ++batches;

function refused(error: unknown): ToolResult {
  const bounded = boundedRun(refusalReport(error, null));
  const none = { notices: [], succeeded: 0, failed: 0, wall_ms: 0, ran_on: {}, results: [] };
  return { document: { ...none, error: bounded.error }, isError: true };
}

class Batch {
  readonly #parts: ToolParts;
  readonly #daemon: Daemon;
  readonly #template: JobTemplate;
  readonly #commands: readonly unknown[];
  readonly #context: ToolContext;
  readonly #keptBytesMax: number;
  readonly #entries: BatchEntry[] = [];
  #next = 0;
  #failed = 0;
  #streamFiles = 0;

  constructor(
    parts: ToolParts,
    daemon: Daemon,
    template: JobTemplate,
    commands: readonly unknown[],
    context: ToolContext,
  ) {
    this.#parts = parts;
    this.#daemon = daemon;
    this.#template = template;
    this.#commands = commands;
    this.#context = context;
    this.#keptBytesMax = Math.min(KEPT_BYTES_MAX, Math.floor(BATCH_KEPT_BYTES_MAX / (2 * commands.length)));
  }

  /** @returns the entries in the order given; every command has one */
  async run(): Promise<readonly BatchEntry[]> {
    const lanes = Math.min(SUBMITTED_MAX, this.#commands.length);
    // Each command under way listens for the end of the call.
    setMaxListeners(lanes + 1, this.#context.signal);
    this.#context.progress(() => this.#describe());
    await Promise.all(Array.from({ length: lanes }, () => this.#lane()));
    return this.#entries.sort((a, b) => a.index - b.index);
  }

  async #lane(): Promise<void> {
    while (this.#next < this.#commands.length) {
      const index = this.#next++;
      const command = this.#commands[index];
      const outcome = await this.#one(command);
      if (outcome.run.success !== true) this.#failed += 1;
      this.#entries.push({ index, command: typeof command === 'string' ? command : JSON.stringify(command), outcome });
    }
  }

  #describe(): string {
    const done = `${this.#entries.length} of ${this.#commands.length} done`;
    return this.#failed === 0 ? done : `${done}, ${this.#failed} failed`;
  }

  #one(command: unknown): Promise<JobOutcome> | JobOutcome {
    const line = shellLineOf(command);
    if (!line.ok) return this.#notRun(line.error);
    if (this.#daemon.api.closed) {
      return this.#notRun(
        new MeshError('daemon_not_running', 'the daemon went away before this command; it was not run'),
      );
    }
    return runJob(
      this.#daemon.api,
      { command: line.value, ...this.#template },
      {
        signal: this.#context.signal,
        // One line of one command says little of a batch.
        progress: () => undefined,
        keptBytesMax: this.#keptBytesMax,
        openFile: (name) => (++this.#streamFiles > STREAM_FILES_MAX ? null : this.#parts.files.create(name)),
      },
    );
  }

  #notRun(error: MeshError): JobOutcome {
    const nothing = (): OutputCapture => new OutputCapture(0, () => null);
    return { run: refusalReport(error, this.#template.cwd), stdout: nothing(), stderr: nothing() };
  }
}
