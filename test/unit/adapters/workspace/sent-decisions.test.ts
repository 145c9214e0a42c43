import { realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createOriginOperations } from '../../../../src/adapters/workspace/origin-operations.ts';
import { sentDecisions } from '../../../../src/adapters/workspace/sent-decisions.ts';
import { COMMAND_ENV, sh } from '../../../fixtures/round-trips.ts';
import { TestExecutor } from '../../../fixtures/sent-project.ts';

let executor: TestExecutor;
beforeEach(() => {
  executor = new TestExecutor();
});
afterEach(() => executor.remove());

it('a project in a workspace has the secrets that were sent as decided, and none that its job made', async () => {
  expect(sentDecisions(executor.workspaces, '/home/someone/app')).toEqual({});
  const { tree } = await executor.sync({ '.gitignore': '.env*\n', '.env': 'A=1', 'deep/.env': 'B=1', a: '1' });
  const root = realpathSync(tree);
  expect(sentDecisions(executor.workspaces, root)).toEqual({ '.env': 'send', 'deep/.env': 'send' });
  expect(sentDecisions(executor.workspaces, join(root, 'deep'))).toEqual({ '.env': 'send' });
  expect(sentDecisions(executor.workspaces, join(root, '..'))).toEqual({});
  expect(sentDecisions(executor.workspaces, '/')).toEqual({});

  sh(root, 'git init -q . && git add -A && git commit -qm x');
  writeFileSync(join(root, '.env.local'), 'C=1');
  const settings = { folder: executor.workspaces, home: '/nonexistent', env: COMMAND_ENV, user: null };
  const scanned = await createOriginOperations(settings).scan({
    project: { root, key: 'k'.repeat(32), kind: 'git' },
    ship: { include: [], exclude: [], ignored: [], git: true },
    secrets: { 'deep/.env': 'skip' },
    filesMax: 100,
    bytesMax: 1e9,
  });
  expect(scanned).toMatchObject({
    ok: true,
    value: { withheld: ['.env.local', 'deep/.env'], undecided: ['.env.local'] },
  });
});
