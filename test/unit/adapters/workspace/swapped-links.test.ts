import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { diskClockMovedOn } from '../../../fixtures/disk-clock.ts';
import { FIRST_MTIME_MS, TestExecutor } from '../../../fixtures/sent-project.ts';

/** What outlived its job, or runs beside it, puts a link in the place of a file just after somebody looked at that. */
const swap = vi.hoisted(() => ({
  /** Ends of paths. */
  ends: null as string | null,
  calls: [] as readonly string[],
  put: (): void => undefined,
}));

vi.mock('node:fs', async (importOriginal) => {
  const real = await importOriginal<typeof fs>();
  const watched = (name: 'lstatSync' | 'copyFileSync' | 'mkdirSync') => [
    name,
    (...args: unknown[]): unknown => {
      const result: unknown = Reflect.apply(real[name], real, args);
      const path = String(args[name === 'copyFileSync' ? 1 : 0]);
      if (swap.ends !== null && swap.calls.includes(name) && path.endsWith(swap.ends)) swap.put();
      return result;
    },
  ];
  return { ...real, ...Object.fromEntries((['lstatSync', 'copyFileSync', 'mkdirSync'] as const).map(watched)) };
});

let executor: TestExecutor;
let victim: string;
beforeEach(() => {
  executor = new TestExecutor();
  victim = join(executor.home, 'victim');
  fs.writeFileSync(victim, 'victim', { mode: 0o600 });
  fs.utimesSync(victim, 1, 1);
});
afterEach(() => {
  swap.ends = null;
  executor.remove();
});

const expectUntouched = (path: string): void => {
  const { mode, mtimeMs } = fs.statSync(path);
  expect({ mode: mode & 0o777, mtimeMs }).toEqual({ mode: 0o600, mtimeMs: 1000 });
};

it.each(['symbolic', 'hard'])(
  'a new mode and time of a file go to that file alone, not through a %s link',
  async (kind) => {
    const first = await executor.sync({ a: '1', b: 'b' });
    await executor.collect(first.id);
    await executor.files.close(first.id);
    const file = join(first.tree, 'a');
    swap.put = () => {
      fs.rmSync(file, { force: true });
      if (kind === 'symbolic') fs.symlinkSync(victim, file);
      else fs.linkSync(victim, file);
    };
    swap.ends = '/a';
    swap.calls = ['lstatSync'];
    const again = { a: { text: '1', mode: 0o755, mtimeMs: FIRST_MTIME_MS + 5 }, b: 'b' };
    await executor.sync(again);
    expectUntouched(victim);
  },
);

it('owner, mode and time of a file of a slot that is cloned are not given through a link', async () => {
  const files = { '.gitignore': 'out/\n', a: '1' };
  const first = await executor.sync(files);
  fs.mkdirSync(join(first.tree, 'out'));
  fs.writeFileSync(join(first.tree, 'out/p'), 'product', { mode: 0o755 });
  await executor.collect(first.id);
  await executor.files.close(first.id);
  await diskClockMovedOn(executor.home);
  const used = await executor.sync(files);
  const second = join(used.tree, '../../2/app');
  swap.put = () => {
    fs.rmSync(join(second, 'out/p'), { force: true });
    fs.symlinkSync(victim, join(second, 'out/p'));
  };
  swap.ends = '/p';
  swap.calls = ['copyFileSync'];
  const cloned = await executor.sync(files);
  expect(cloned.tree).toBe(second);
  expectUntouched(victim);
  expect(fs.existsSync(join(second, 'out'))).toBe(false);
});
