import { writeSync } from 'node:fs';
import type { LogFields, Logger } from '../base/log.ts';

/** Lines beyond this are dropped, so that the log of one runner stays small whatever happens. */
const LINES_MAX = 5000;
const STDERR_FD = 2;

/** JSON lines on stderr, which the daemon directed to the runner's log. No library: this process stays small. */
export function stderrLogger(): Logger {
  let lines = 0;
  const write = (level: string, message: string, fields?: LogFields): void => {
    if (++lines > LINES_MAX) return;
    const line = JSON.stringify({ level, time: new Date().toISOString(), message, ...fields });
    try {
      writeSync(STDERR_FD, `${line}\n`);
    } catch {
      // A full disk, most likely: there is nobody else to tell, and commands matter more than the log.
      lines = LINES_MAX;
    }
  };
  return {
    debug: () => undefined,
    info: (message, fields) => write('info', message, fields),
    warn: (message, fields) => write('warn', message, fields),
    error: (message, fields) => write('error', message, fields),
  };
}
