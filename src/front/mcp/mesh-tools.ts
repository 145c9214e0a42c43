import type { ExplainReport, NodeReport, StatusReport } from '../../node/api-types.ts';
import { askDaemon, ERROR_CHARS_MAX, failed } from './daemon-question.ts';
import { jobTemplateOf, shellLineOf } from './job-request.ts';
import { explainSchema, statusSchema } from './result-schemas.ts';
import { asManyAsFit } from './listed.ts';
import { brief, briefNotices, RESULT_CHARS_MAX } from './run-report.ts';
import { jsonChars, shownDeep } from './shown-text.ts';
import { bashArguments, jsonSchemaOf, noArguments, parseArguments } from './tool-arguments.ts';
import type { ToolParts } from './tool-parts.ts';
import type { JsonDocument, Tool } from './tool.ts';

/** Above so many nodes their capabilities would bury what a model looks for. */
const NODES_WITH_CAPABILITIES_MAX = 10;
const NEARBY_MAX = 50;

/** `cluster_status`: every node with its load. */
export function clusterStatus(parts: ToolParts): Tool {
  return {
    name: 'cluster_status',
    title: 'Machines of the mesh and their load',
    description: `Lists the machines of the user's own mesh, this one included (local_node): name, whether it is reachable, platform, cores, free slots, running and queued jobs, CPU, memory, load, and what it can do (tools with versions, GPU, labels). Use it to see why something runs where it does, or which name to give offload_to. You need not call it before cluster_bash: that chooses by itself.`,
    inputSchema: jsonSchemaOf(noArguments, 'input'),
    outputSchema: statusSchema,
    readOnly: true,
    alwaysLoad: false,
    run: async (args) => {
      const none = { mesh_id: null, local_node: null, daemon_pid: null, notices: [], nodes: [], nearby: [] };
      const parsed = parseArguments(noArguments, args);
      if (!parsed.ok) return failed(none, parsed.error);
      return askDaemon(parts, none, async ({ api }) => ({
        document: statusDocument(await api.call('status', {})),
        isError: false,
      }));
    },
  };
}

/** `explain_route`: where a command would run, and why. */
export function explainRoute(parts: ToolParts): Tool {
  return {
    name: 'explain_route',
    title: 'Where would this command run, and why',
    description: `Says where cluster_bash would run a command, without running it: its class (bound: stays here; light; heavy: goes to the best machine; other), the score of every machine that could take it, and every reason against each other machine. Takes the same arguments as cluster_bash.`,
    inputSchema: jsonSchemaOf(bashArguments, 'input'),
    outputSchema: explainSchema,
    readOnly: true,
    alwaysLoad: false,
    run: async (args) => {
      const parsed = parseArguments(bashArguments, args);
      if (!parsed.ok) return failed(NOTHING_EXPLAINED, parsed.error);
      const { command, auto_route, ...placement } = parsed.value;
      const line = shellLineOf(command);
      if (!line.ok) return failed(NOTHING_EXPLAINED, line.error);
      return askDaemon(parts, NOTHING_EXPLAINED, async ({ api, settings }) => {
        const target = { kind: auto_route ? 'bash' : 'local' } as const;
        const template = await jobTemplateOf(placement, target, { ...parts, settings });
        if (!template.ok) return failed(NOTHING_EXPLAINED, template.error);
        const report = await api.call('explain', { spec: { command: line.value, ...template.value } });
        return { document: explainDocument(report), isError: report.error !== undefined };
      });
    },
  };
}

const NOTHING_EXPLAINED = {
  notices: [],
  class: null,
  class_reason: '',
  tools: [],
  would_run_on: null,
  would_run_on_id: null,
  route: '',
  expected: null,
  candidates: [],
  rejected: [],
};

/** Names of machines that are not joined are a stranger's text: only their addresses are shown. */
export function statusDocument(report: StatusReport, charsMax = RESULT_CHARS_MAX): JsonDocument {
  const { nodes, nearby, notices, ...rest } = report;
  const document = (shownNodes: readonly Partial<NodeReport>[]): JsonDocument => ({
    ...rest,
    notices: briefNotices(notices),
    nodes: shownNodes.map(shownDeep),
    ...(shownNodes.length === nodes.length ? {} : { nodes_left_out: nodes.length - shownNodes.length }),
    nearby: nearby.slice(0, NEARBY_MAX).map(({ address }) => shownDeep({ address })),
    ...(nearby.length > NEARBY_MAX ? { nearby_left_out: nearby.length - NEARBY_MAX } : {}),
  });
  const many = nodes.length > NODES_WITH_CAPABILITIES_MAX;
  const whole = document(nodes.map((node) => (many ? without(node, ['capabilities']) : node)));
  if (jsonChars(whole) <= charsMax) return whole;
  // This node and the reachable ones first, where not all can be shown.
  const rank = (node: NodeReport): number => (node.id === report.local_node ? 0 : node.reachable ? 1 : 2);
  const short = [...nodes]
    .sort((a, b) => rank(a) - rank(b))
    .map((node) => without(node, ['capabilities', 'labels', 'addresses']));
  return asManyAsFit(short, document, charsMax);
}

function without(node: NodeReport, keys: readonly (keyof NodeReport)[]): Partial<NodeReport> {
  return Object.fromEntries(Object.entries(node).filter(([key]) => !keys.some((left) => left === key)));
}

/** The report with every reason, or as many nodes of it as fit. */
export function explainDocument(report: ExplainReport, charsMax = RESULT_CHARS_MAX): JsonDocument {
  const { candidates, rejected, error, notices, ...rest } = report;
  const all = [
    ...candidates.map((candidate) => ({ candidate, rejection: null })),
    ...rejected.map((rejection) => ({ candidate: null, rejection })),
  ];
  return asManyAsFit(
    all,
    (some) => {
      const candidatesShown = some.flatMap(({ candidate }) => (candidate === null ? [] : [candidate]));
      const rejectedShown = some.flatMap(({ rejection }) => (rejection === null ? [] : [rejection]));
      return {
        notices: briefNotices(notices),
        ...(shownDeep(rest) as JsonDocument),
        candidates: shownDeep(candidatesShown),
        ...leftOut('candidates_left_out', candidates.length - candidatesShown.length),
        rejected: shownDeep(rejectedShown),
        ...leftOut('rejected_left_out', rejected.length - rejectedShown.length),
        ...(error === undefined ? {} : { error: { code: error.code, message: brief(error.message, ERROR_CHARS_MAX) } }),
      };
    },
    charsMax,
  );
}

const leftOut = (key: string, count: number): JsonDocument => (count === 0 ? {} : { [key]: count });
