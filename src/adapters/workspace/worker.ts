/**
 * The thread that works on projects' files for the daemon: selecting, hashing, storing, placing, collecting, applying.
 * Bundled on its own; `workspace-thread.ts` starts it at first use and ends it when idle: what matters is on the disk.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { assert, unreachable } from '../../base/assert.ts';
import { createExecutorOperations } from './executor-operations.ts';
import { removeUnfinished } from './local-files.ts';
import { OperationTable, type ThreadSettings } from './operations.ts';
import { createOriginOperations } from './origin-operations.ts';
import { detachable, failureOf, type FromWorkspaceThread, type ToWorkspaceThread } from './thread-messages.ts';
import { YoungGarbage } from './young-garbage.ts';

assert(parentPort !== null, 'this file runs as a thread of the daemon');
const port = parentPort;
const settings = workerData as ThreadSettings;
const table = new OperationTable(
  () => createOriginOperations(settings),
  () => createExecutorOperations(settings),
);

const garbage = new YoungGarbage();

const post = (message: FromWorkspaceThread, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);

async function call(message: Extract<ToWorkspaceThread, { t: 'call' }>): Promise<void> {
  const { id, op, callback } = message;
  const onProgress = (value: number): void => post({ t: 'progress', id, value });
  const args = message.args.map((arg, index) => (index === callback ? onProgress : arg));
  try {
    const transfer: ArrayBuffer[] = [];
    const value = detachable(await table.run(op, args), transfer, true);
    const bytes = [...args, ...transfer].reduce<number>((sum, one) => sum + bytesOf(one), 0);
    post({ t: 'done', id, value }, transfer);
    garbage.passed(bytes);
  } catch (error) {
    post({ t: 'failed', id, ...failureOf(error) });
    // What nobody expected is told where the daemon logs it, with its place.
    if (failureOf(error).code === 'internal') process.stderr.write(`${op}: ${describe(error)}\n`);
  }
}

const bytesOf = (value: unknown): number =>
  value instanceof Uint8Array || value instanceof ArrayBuffer ? value.byteLength : 0;

const describe = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));

port.on('message', (message: ToWorkspaceThread) => {
  switch (message.t) {
    case 'call':
      void call(message);
      return;
    case 'stop':
      // Operations that are under way end where they yield; every file is written so that this is harmless.
      removeUnfinished();
      process.exit(0);
      return;
    default:
      unreachable(message);
  }
});
