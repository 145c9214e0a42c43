import { expect, test } from 'vitest';
import type { NodeId } from '../../../src/base/ids.ts';
import type { AuditEntry } from '../../../src/node/audit-log.ts';
import {
  REFUSALS_BURST_MAX,
  REFUSALS_PER_S,
  REFUSING_ORIGINS_MAX,
  RefusalTrail,
} from '../../../src/node/refusal-trail.ts';

const origin = (number: number): NodeId => String(number).padStart(52, 'a') as NodeId;

function rig() {
  const entries: AuditEntry[] = [];
  const clock = { nowMs: 0 };
  const audit = { append: (entry: AuditEntry) => void entries.push(entry), close: () => undefined };
  return { entries, clock, trail: new RefusalTrail(audit, () => clock.nowMs) };
}

test('a flood of refused requests washes nothing out of the audit log, and is counted there', () => {
  const { entries, clock, trail } = rig();
  for (let i = 0; i < 10_000; i++) trail.append(origin(1), { event: 'refused', command: 'x' });
  expect(entries.length).toBe(REFUSALS_BURST_MAX);
  trail.append(origin(2), { event: 'refused', command: 'y' });
  expect(entries.at(-1)).toEqual({ event: 'refused', command: 'y' });
  clock.nowMs = 1000 / REFUSALS_PER_S;
  trail.append(origin(1), { event: 'refused', command: 'z' });
  expect(entries.at(-1)).toEqual({ event: 'refused', command: 'z', unsaid: 10_000 - REFUSALS_BURST_MAX });
  trail.append(origin(1), { event: 'refused' });
  expect(entries.length).toBe(REFUSALS_BURST_MAX + 2);
});

test('origins beyond the bound push out the longest unused', () => {
  const { entries, trail } = rig();
  for (let i = 0; i < REFUSALS_BURST_MAX + 1; i++) trail.append(origin(0), { event: 'refused' });
  for (let i = 1; i <= REFUSING_ORIGINS_MAX; i++) trail.append(origin(i), { event: 'refused' });
  const before = entries.length;
  trail.append(origin(0), { event: 'refused' });
  expect(entries.length).toBe(before + 1);
});
