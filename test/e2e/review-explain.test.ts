import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestMesh, until, type TestFacts } from '../fixtures/nodes.ts';

/** `explain` names all reasons against a node, those too that only the node itself can tell. */
const NAMES = ['origin', 'other'] as const;
const FACTS: TestFacts = { cpu_percent: 1, cores: 4, tools: { bash: '5.2.15', sh: '', make: '4.3', node: '20.19.5' } };
let mesh: TestMesh;

beforeAll(async () => {
  mesh = await TestMesh.start(NAMES, { facts: { origin: FACTS, other: { ...FACTS, os: 'darwin' } } });
});
afterAll(() => mesh.stop());

interface Reason {
  readonly code: string;
  readonly text: string;
}

/** Once it has said what it alone can tell, that it has no such tool: one that does not answer within 2 s is not heard. */
async function reasonsAgainstOther(...words: string[]): Promise<readonly Reason[]> {
  return until('the other has answered', async () => {
    const { stdout } = await mesh.node('origin').run(['explain', '--json', ...words]);
    const { rejected } = JSON.parse(String(stdout)) as { rejected: { name: string; reasons: Reason[] }[] };
    const reasons = rejected.find(({ name }) => name === 'other')?.reasons ?? [];
    return reasons.some(({ text }) => text.includes('no-such-tool')) ? reasons : null;
  });
}

describe('explain', () => {
  it('tells of a node of another platform what else speaks against it', async () => {
    const reasons = await reasonsAgainstOther('--need', 'tool:no-such-tool', '--', 'make');
    expect(reasons.map(({ text }) => text).toSorted()).toEqual([
      'has no no-such-tool (tool:no-such-tool is required)',
      'runs darwin, here is linux',
    ]);
  });

  it('tells a required program from one that the command runs', async () => {
    const reasons = await reasonsAgainstOther('--os', 'any', '--need', 'tool:no-such-tool', '--', 'no-such-program');
    expect(reasons).toEqual([
      { code: 'tool_missing', text: 'has no no-such-program, which the command runs' },
      { code: 'capability', text: 'has no no-such-tool (tool:no-such-tool is required)' },
    ]);
  });
});
