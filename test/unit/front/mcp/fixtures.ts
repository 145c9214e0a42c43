import { realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { OutputCapture } from '../../../../src/front/mcp/output-capture.ts';
import type { JobOutcome } from '../../../../src/front/mcp/job-run.ts';
import { refusalReport, type RunReport } from '../../../../src/node/api-refusal.ts';
import type { OutputFile } from '../../../../src/front/mcp/output-files.ts';

/** A folder that is in no git repository, so that linked work trees of this one change nothing. */
export const OUTSIDE_GIT = realpathSync(tmpdir());

/** A job that ended as its fields say, with outputs as a front would have captured them. */
export function outcomeOf(
  fields: Partial<RunReport> = {},
  outputs: { readonly stdout?: string; readonly stderr?: string } = {},
  openFile: (name: string) => OutputFile | null = () => null,
): JobOutcome {
  const { error: _none, ...bare } = refusalReport(null, '/work');
  const run: RunReport = {
    ...bare,
    return_code: 0,
    success: true,
    reason: 'exited',
    executed_on: 'desk',
    job_id: '01JOB',
    route: 'here: the only capable node',
    ...fields,
  };
  return { run, stdout: captured(outputs.stdout, openFile), stderr: captured(outputs.stderr, openFile) };
}

let captures = 0;

export function captured(text = '', openFile: (name: string) => OutputFile | null = () => null): OutputCapture {
  captures += 1;
  const name = `job-${captures}`;
  const capture = new OutputCapture(64 * 1024, () => openFile(name));
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.byteLength; at += 16_384) capture.push(bytes.subarray(at, at + 16_384));
  return capture;
}
