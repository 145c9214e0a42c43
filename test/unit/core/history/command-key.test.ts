import { describe, expect, it } from 'vitest';
import { commandKey, type ProjectPlace } from '../../../../src/core/history/command-key.ts';

const PLACE: ProjectPlace = { id: '/home/u/p', root: '/home/u/p', prefix: '' };
const keyOf = (line: string, place: ProjectPlace = PLACE) => commandKey(place, { kind: 'line', line });

describe('the key of a command', () => {
  it.each([
    ['cargo test  -p a', "cargo test -p 'a'"],
    ['make -C /home/u/p/sub', 'make -C ./sub'],
    ['tar xf /tmp/a.Xy12/b.tar', 'tar xf /tmp/other/c'],
    ['deploy --id 0b0e7a62-3f9e-4f0e-9d0a-6e1f0c0b8a11', 'deploy --id 1c1e7a62-3f9e-4f0e-9d0a-6e1f0c0b8a22'],
    ['git archive 03a187b', 'git archive e40ad23'],
  ])('is the same for %s and %s', (one, other) => {
    expect(keyOf(one)).toEqual(keyOf(other));
  });

  it.each([
    ['cargo test -p a', 'cargo test -p b'],
    ['python2 t.py', 'python3 t.py'],
    ['make -j8', 'make -j4'],
    ['npm test', 'npm run build'],
  ])('is another for %s than for %s', (one, other) => {
    expect(keyOf(one).general).not.toBe(keyOf(other).general);
    expect(keyOf(one).exact).not.toBe(keyOf(other).exact);
  });

  it.each([
    ['sleep 1', 'sleep 90'],
    ['test --shard 3/8', 'test --shard 4/8'],
    ['./work part-3.txt 0.25', './work part-17.txt 1'],
  ])('tells %s from %s, but knows that they are alike', (one, other) => {
    expect(keyOf(one).exact).not.toBe(keyOf(other).exact);
    expect(keyOf(one).general).toBe(keyOf(other).general);
  });

  it('is of a project and a directory in it, wherever a work tree of it lies', () => {
    const linked: ProjectPlace = { id: '/home/u/p', root: '/home/u/p-feature', prefix: '' };
    expect(keyOf('make /home/u/p-feature/x', linked)).toEqual(keyOf('make /home/u/p/x'));
    expect(keyOf('make', { ...PLACE, prefix: 'sub' })).not.toEqual(keyOf('make'));
    expect(keyOf('make', { ...PLACE, id: '/home/u/q' })).not.toEqual(keyOf('make'));
  });

  it('takes an argv for the line that people would type', () => {
    expect(commandKey(PLACE, { kind: 'argv', argv: ['cargo', 'test'] })).toEqual(keyOf('cargo test'));
  });

  it('holds none of the words and is short, whatever the command', () => {
    for (const line of ['x', 'a '.repeat(60_000), '🦀\u0000"']) {
      expect(keyOf(line).exact).toMatch(/^[0-9a-f]{16}$/);
    }
  });

  it('hardly ever meets another', () => {
    const keys = new Set(Array.from({ length: 50_000 }, (_, n) => keyOf(`job x${n}y`).exact));
    expect(keys.size).toBe(50_000);
  });
});
