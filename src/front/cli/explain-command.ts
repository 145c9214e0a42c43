import { escapeControls } from '../../base/escape.ts';
import { formatSize } from '../../base/units.ts';
import type { ApiClient } from '../../node/api-client.ts';
import type { ExplainReport } from '../../node/api-types.ts';
import { EXIT_MESHWORK } from './exit-code.ts';
import { jobSpecOf, type JobOptions } from './job-options.ts';
import { printJson, printLine } from './output.ts';

/** `explain`: class, where it would run, every candidate's score, every other node's reasons. Runs nothing. */
export async function explainCommand(
  connect: () => Promise<ApiClient>,
  words: readonly string[],
  options: JobOptions,
  json: boolean,
): Promise<number> {
  const spec = jobSpecOf(words, options, false);
  const api = await connect();
  try {
    const report = await api.call('explain', { spec });
    if (json) printJson(report);
    else printLine(explainView(report));
    return report.error === undefined ? 0 : EXIT_MESHWORK;
  } finally {
    api.close();
  }
}

export function explainView(report: ExplainReport): string {
  const lines = [
    `class     ${report.class} (${escapeControls(report.class_reason)})`,
    `tools     ${report.tools.length === 0 ? 'none of its own' : report.tools.map((tool) => escapeControls(tool)).join(', ')}`,
  ];
  if (report.error === undefined)
    lines.push(`runs on   ${escapeControls(report.would_run_on ?? '-')}`, `route     ${escapeControls(report.route)}`);
  else {
    // The rest of the message are the reasons that are listed below.
    const [what = ''] = report.error.message.split(/, so nothing ran:\n|\n/);
    lines.push(`runs on   no node: ${escapeControls(what)}`);
  }
  if (report.expected !== null) {
    const source = report.expected.source === 'history' ? 'from earlier runs' : `assumed of what is ${report.class}`;
    lines.push(`takes     about ${round(report.expected.seconds_here)} s here (${source})`);
  }
  if (report.candidates.length > 0) lines.push('', 'candidates, best first (estimated seconds to finish):');
  for (const candidate of report.candidates) {
    const terms = Object.entries(candidate.terms).map(([name, value]) => `${name} ${round(value)}`);
    const mark = candidate.chosen ? '>' : ' ';
    const slow =
      candidate.slowness_source === 'history' ? `  (takes ${round(candidate.slowness)} × as long as here)` : '';
    const { sync_bytes: bytes } = candidate;
    const files = bytes === null ? '' : bytes === 0 ? '  (has the files)' : `  (${formatSize(bytes)} of files to send)`;
    lines.push(
      `  ${mark} ${escapeControls(candidate.name)}  ${round(candidate.score_s)} s  = ${terms.join(' + ')}${slow}${files}`,
    );
  }
  if (report.rejected.length > 0) lines.push('', 'not considered:');
  for (const node of report.rejected) {
    // What keeps the command here is said once, not again for every node.
    const texts = node.reasons.map(({ text }) =>
      report.route.includes(`: ${text}`) ? 'see route' : escapeControls(text),
    );
    lines.push(`    ${escapeControls(node.name)}  ${texts.join('; ')}`);
  }
  for (const notice of report.notices) lines.push(`! ${escapeControls(notice)}`);
  return lines.join('\n');
}

const round = (value: number): string => String(Math.round(value * 1000) / 1000);
