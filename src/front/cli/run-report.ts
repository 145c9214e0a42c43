import { MeshError } from '../../base/errors.ts';
import { refusalReport } from '../../node/api-refusal.ts';
import type { RunObject } from '../../node/api-types.ts';
import { EXIT_MESHWORK } from './exit-code.ts';
import { printError, printJson } from './output.ts';

/** What went wrong, or could mislead, goes to stderr, which is otherwise the command's own. */
export function reportEnd(result: RunObject): void {
  for (const notice of result.notices) printError(notice);
  if (result.error !== undefined) printError(`${result.error.message} [${result.error.code}]`);
  else if (result.reason === 'timeout')
    printError(`the command was ended after its time limit on ${result.executed_on}`);
}

/** That somebody else ended it: an exit code of 130 alone looks like a Ctrl-C here. */
export function reportCancellation(result: RunObject): void {
  if (result.reason !== 'cancelled' || result.error !== undefined) return;
  printError(`the job was cancelled${result.executed_on === null ? ' before it ran' : ` on ${result.executed_on}`}`);
}

/** What never ran has a run object as well: a script reads one shape, whatever happened. */
export function reportRefusal(error: unknown, json: boolean, cwd: string): number {
  if (json) printJson(refusalReport(error, cwd));
  return reportFailure(error, false);
}

/** Every failure of meshwork itself ends here: its message on stderr (JSON on stdout with `--json`), exit 125. */
export function reportFailure(error: unknown, json: boolean): number {
  const code = error instanceof MeshError ? error.code : 'internal';
  const message = error instanceof Error ? error.message : String(error);
  if (json) printJson({ error: { code, message } });
  printError(`${message} [${code}]`);
  if (code === 'internal' && error instanceof Error && process.env['MESHWORK_DEBUG'] === '1')
    printError(error.stack ?? '');
  return EXIT_MESHWORK;
}
