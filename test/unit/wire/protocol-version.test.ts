import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { apiHelloSchema, apiRequestSchema } from '../../../src/wire/api.ts';
import { helloRefusalSchema, helloSchema } from '../../../src/wire/hello.ts';
import { queryMessageSchema } from '../../../src/wire/job-query.ts';
import { jobMessageSchema } from '../../../src/wire/jobs.ts';
import { memberMessageSchema } from '../../../src/wire/membership.ts';
import { pairHeadSchema, pairReplySchema, pairRequestSchema } from '../../../src/wire/pair.ts';
import { fromRunnerSchema, toRunnerSchema } from '../../../src/wire/runner.ts';
import { trustMessageSchema } from '../../../src/wire/trust.ts';
import { PROTOCOL_VERSION } from '../../../src/wire/version.ts';
import { workspaceMessageSchema } from '../../../src/wire/workspace.ts';

/** The shape of every message family, as it was when PROTOCOL_VERSION was last raised. */
const PINNED = {
  version: 1,
  shapes: {
    hello: '2859692bac8c372a',
    pair: '9208366fdd7691d2',
    trust: '2cf6a9d2fd8e246b',
    member: '28b12336519295a8',
    query: '4326b1926945a75e',
    job: '532ef7b58b63d43c',
    runner: 'e2a4af865a1a34a8',
    api: 'b918cac0ab5b3753',
    ws: '03252be3383f84e1',
  },
};

const FAMILIES: Record<keyof typeof PINNED.shapes, readonly z.ZodType[]> = {
  hello: [helloSchema, helloRefusalSchema],
  pair: [pairHeadSchema, pairRequestSchema, pairReplySchema],
  trust: [trustMessageSchema],
  member: [memberMessageSchema],
  job: [jobMessageSchema],
  query: [queryMessageSchema],
  runner: [toRunnerSchema, fromRunnerSchema],
  api: [apiHelloSchema, apiRequestSchema],
  ws: [workspaceMessageSchema],
};

/** Hash of what is accepted, as JSON Schema; refinements (hashes, counts of keys) have no place in it. */
function shapeOf(schemas: readonly z.ZodType[]): string {
  const shapes = schemas.map((schema) => z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }));
  return createHash('sha256').update(JSON.stringify(shapes)).digest('hex').slice(0, 16);
}

const HOW = `A message changed. Where released nodes speak protocol ${PROTOCOL_VERSION}: raise PROTOCOL_VERSION in src/wire/version.ts and
add a line to its history. Then pin version and hashes anew in this file. A peer of another version is refused cleanly;
one that is believed to speak the same and does not is cut off in the middle of its work.`;

test('the protocol version is the one that the shapes of the messages were pinned for', () => {
  const shapes = Object.fromEntries(Object.entries(FAMILIES).map(([family, schemas]) => [family, shapeOf(schemas)]));
  expect({ version: PROTOCOL_VERSION, shapes }, HOW).toEqual(PINNED);
});
