import type { ChildProcess } from 'node:child_process';
import { messageOf, systemCodeOf } from '../../base/errors.ts';
import { readProcess } from './process-table.ts';

const POLL_MS = 20;

/** A process whose end can be waited for, whether this one started it or found it. */
export interface WatchedProcess {
  readonly pid: number;
  /** How it ended; null while it lives. */
  exitMessage(): string | null;
  /** Settles once it is gone. */
  gone(): Promise<void>;
  kill(signal: 'SIGTERM' | 'SIGKILL'): void;
}

export function watchChild(child: ChildProcess): WatchedProcess {
  let message: string | null = null;
  const done = new Promise<void>((resolve) => {
    const end = (how: string): void => {
      message ??= how;
      resolve();
    };
    child.once('error', (error) => end(messageOf(error)));
    child.once('exit', (code, signal) => end(signal === null ? `it exited with ${code}` : `it was ended by ${signal}`));
  });
  return {
    pid: child.pid ?? 0,
    exitMessage: () => message,
    gone: () => done,
    kill: (signal) => child.kill(signal),
  };
}

/** @returns null where no such process lives */
export function watchFound(pid: number): WatchedProcess | null {
  const startTag = readProcess(pid)?.startTag;
  if (startTag === undefined) return null;
  const lives = (): boolean => readProcess(pid)?.startTag === startTag;
  return {
    pid,
    exitMessage: () => (lives() ? null : 'it has ended'),
    gone: async () => {
      while (lives()) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    },
    kill: (signal) => {
      if (!lives()) return;
      try {
        process.kill(pid, signal);
      } catch (error) {
        // Gone since the look before.
        if (systemCodeOf(error) !== 'ESRCH') throw error;
      }
    },
  };
}

/** Waits no longer than that, and leaves no timer: it would hold a daemon that is going down. */
export async function within(done: Promise<void>, waitMsMax: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const waited = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, waitMsMax);
  });
  await Promise.race([done, waited]);
  clearTimeout(timer);
}
