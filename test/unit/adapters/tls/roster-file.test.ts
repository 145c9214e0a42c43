import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadOrCreateIdentity } from '../../../../src/adapters/tls/identity.ts';
import { loadRoster, saveRoster } from '../../../../src/adapters/tls/roster-file.ts';
import {
  createGenesis,
  signGrant,
  signRevoke,
  verifyItems,
  verifySet,
} from '../../../../src/adapters/tls/statement-signatures.ts';
import { verifier } from '../../../../src/adapters/tls/verifier.ts';
import { MeshError } from '../../../../src/base/errors.ts';
import { evaluate } from '../../../../src/core/trust/trust-set.ts';
import type { Identity } from '../../../../src/ports/identity.ts';
import { statementSchema, type Statement } from '../../../../src/wire/trust.ts';

let home = '';
let path = '';
let founder: Identity;
let guest: Identity;

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'meshwork-roster-'));
  path = join(home, 'trust.json');
  founder = (await loadOrCreateIdentity(join(home, 'a'), Date.now())).identity;
  guest = (await loadOrCreateIdentity(join(home, 'b'), Date.now())).identity;
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

function pairOfNodes() {
  const { meshId, genesis } = createGenesis(founder, verifier, 'desk', 1);
  const grant = signGrant(founder, verifier, {
    kind: 'grant',
    mesh: meshId,
    node: guest.nodeId,
    spki: base64(guest.spki),
    name: 'laptop',
    roles: ['submit', 'run'],
    by: founder.nodeId,
    at: 2,
  });
  return { meshId, genesis, grant };
}

describe('signed statements', () => {
  it('pass the wire and make a trust set', () => {
    const { meshId, genesis, grant } = pairOfNodes();
    const received = [grant, genesis].map(({ statement }) =>
      statementSchema.parse(JSON.parse(JSON.stringify(statement))),
    );
    const trust = evaluate(verifySet(verifier, received), meshId, 0);
    expect([...trust.members.values()].map(({ name, roles }) => ({ name, roles }))).toEqual([
      { name: 'desk', roles: ['submit', 'run', 'admin'] },
      { name: 'laptop', roles: ['submit', 'run'] },
    ]);
  });

  it('changed in any field are no longer genuine', () => {
    const { meshId, genesis, grant } = pairOfNodes();
    const left = signRevoke(guest, verifier, {
      kind: 'revoke',
      mesh: meshId,
      node: guest.nodeId,
      by: guest.nodeId,
      at: 3,
    });
    expect(verifySet(verifier, [genesis.statement, grant.statement, left.statement])).toHaveLength(3);
    const changes: Statement[] = [
      { ...grant.statement, roles: ['submit', 'run', 'admin'] },
      { ...grant.statement, node: founder.nodeId, spki: base64(founder.spki) },
      { ...grant.statement, spki: base64(founder.spki) },
      { ...grant.statement, by: guest.nodeId },
      { ...grant.statement, at: 3 },
      { ...grant.statement, expires: 3 },
      { ...grant.statement, name: 'desk' },
      { ...grant.statement, sig: genesis.statement.sig },
      { ...left.statement, node: founder.nodeId },
      { ...left.statement, by: founder.nodeId },
      { ...left.statement, kept: [] },
    ];
    for (const changed of changes) {
      const items = [founder, guest].map(({ spki }) => ({ statement: changed, signerSpki: base64(spki) }));
      expect(verifyItems(verifier, items)).toEqual([]);
    }
  });
});

describe('the roster file', () => {
  it('is private and comes back as it was', () => {
    expect(loadRoster(path, verifier)).toBeNull();
    const { meshId, genesis, grant } = pairOfNodes();
    saveRoster(path, meshId, [genesis.statement]);
    saveRoster(path, meshId, [genesis.statement, grant.statement]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(home).toSorted()).toEqual(['a', 'b', 'trust.json']);
    expect(loadRoster(path, verifier)).toEqual({ meshId, statements: [genesis, grant] });
  });

  it('that cannot be written stays as it was', () => {
    const { meshId, genesis } = pairOfNodes();
    expect(() => saveRoster(join(home, 'nowhere', 'trust.json'), meshId, [genesis.statement])).toThrow(MeshError);
    mkdirSync(path);
    expect(() => saveRoster(path, meshId, [genesis.statement])).toThrow(/cannot write .*trust\.json.*unchanged/);
    expect(readdirSync(home).toSorted()).toEqual(['a', 'b', 'trust.json']);
  });

  const damages: Record<string, (text: string) => string> = {
    empty: () => '',
    'cut off': (text) => text.slice(0, -20),
    'another shape': () => '[]',
    'another version': (text) => text.replace('"version":1', '"version":2').replace('"version": 1', '"version": 2'),
    'another mesh id': (text) => text.replace(/"mesh_id": "[a-z2-7]+"/, `"mesh_id": "${'a'.repeat(52)}"`),
    'more roles than were signed': (text) => text.replace(/"run"\s*\]/, '"run", "admin"]'),
    'a missing genesis': (text) => {
      const roster = JSON.parse(text) as { statements: unknown[] };
      return JSON.stringify({ ...roster, statements: roster.statements.slice(1) });
    },
  };
  it.each(Object.keys(damages))('with %s is refused by name with a remedy and left alone', (name) => {
    const { meshId, genesis, grant } = pairOfNodes();
    saveRoster(path, meshId, [genesis.statement, grant.statement]);
    const damaged = damages[name]?.(readFileSync(path, 'utf8')) ?? '';
    writeFileSync(path, damaged);
    const attempt = (): unknown => loadRoster(path, verifier);
    expect(attempt).toThrow(expect.objectContaining({ name: 'MeshError', code: 'roster_corrupt' }));
    expect(attempt).toThrow(path);
    expect(attempt).toThrow(/Nothing was changed\. To go on, /);
    expect(readFileSync(path, 'utf8')).toBe(damaged);
  });

  it('that is a folder is refused', () => {
    mkdirSync(path);
    expect(() => loadRoster(path, verifier)).toThrow(/cannot be read/);
  });
});
