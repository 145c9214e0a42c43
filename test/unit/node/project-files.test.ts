import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readPins, readScripts } from '../../../src/node/project-files.ts';
import { ProjectPlaces } from '../../../src/node/project-place.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();

it('reads scripts and pins at or above a folder', async () => {
  const root = folder();
  mkdirSync(join(root, 'in'));
  writeFileSync(join(root, 'package.json'), '{"scripts":{"test":"vitest"}}');
  writeFileSync(join(root, '.nvmrc'), '20');
  expect(await readScripts(join(root, 'in'))).toEqual({ test: 'vitest' });
  expect(await readPins(join(root, 'in'))).toEqual([{ name: '.nvmrc', text: '20' }]);
});

it('is not held up by FIFOs of these names, which nobody writes into', async () => {
  const root = folder();
  execFileSync(
    'mkfifo',
    ['package.json', '.nvmrc', '.git'].map((name) => join(root, name)),
  );
  expect(await readScripts(root)).toEqual({});
  expect(await readPins(root)).toEqual([]);
  expect(new ProjectPlaces().at(root)).toEqual({ id: root, root, prefix: '' });
});
