import { readFileSync, statSync } from 'node:fs';
import { z } from 'zod';
import { MeshError, messageOf, systemCodeOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { DetectedFacts, MeasuredLoad } from '../../ports/system.ts';
import { factsSchema, loadSchema } from '../../wire/facts.ts';

/**
 * What MESHWORK_FACTS_FILE may hold, any subset. `tools` replaces what was detected, so that a tool can be missing;
 * `labels` are added to those of the settings, and win over them.
 */
const overridesSchema = z
  .strictObject({
    os: factsSchema.shape.os,
    arch: factsSchema.shape.arch,
    cores: factsSchema.shape.cores,
    tools: factsSchema.shape.tools,
    labels: factsSchema.shape.labels,
    cpu_percent: loadSchema.shape.cpu_percent,
    memory_percent: loadSchema.shape.memory_percent,
    load_1m: loadSchema.shape.load_1m,
  })
  .partial();
export type FactsOverrides = z.infer<typeof overridesSchema>;

const FACTS_FILE_BYTES_MAX = 256 * 1024;
const WARNING_INTERVAL_MS = 60_000;
/** A file changed this recently may change again within one tick of its clock, and look the same. */
const SETTLED_MS = 2000;

export interface FactsFile {
  /** The last good content. */
  current(): FactsOverrides;
  /** Looks at the file again, to be called every second. True where what it says has changed. */
  poll(): boolean;
}

/**
 * Opens MESHWORK_FACTS_FILE. Later faults (half written, invalid, vanished) keep the last good content and warn at most
 * once a minute.
 *
 * @throws MeshError `bad_config` where it is missing or invalid now, naming the key
 */
export function openFactsFile(path: string, log: Logger, nowMs: () => number): FactsFile {
  let read = readFacts(path);
  let warnedAtMs = -Infinity;
  const warn = (error: unknown): void => {
    if (nowMs() - warnedAtMs < WARNING_INTERVAL_MS) return;
    warnedAtMs = nowMs();
    log.warn('MESHWORK_FACTS_FILE cannot be used now; what it said last still counts', { error: messageOf(error) });
  };
  return {
    current: () => read.overrides,
    poll(): boolean {
      try {
        if (read.stamp !== null && stampOf(path).text === read.stamp) return false;
        const next = readFacts(path);
        const changed = next.content !== read.content;
        read = next;
        return changed;
      } catch (error) {
        if (!(error instanceof MeshError)) throw error;
        warn(error);
        return false;
      }
    },
  };
}

/** Facts as detected, with what the file says instead. */
export function overrideFacts(detected: DetectedFacts, overrides: FactsOverrides): DetectedFacts {
  return {
    ...detected,
    os: overrides.os ?? detected.os,
    arch: overrides.arch ?? detected.arch,
    cores: overrides.cores ?? detected.cores,
    tools: overrides.tools ?? detected.tools,
    labels: { ...detected.labels, ...overrides.labels },
    overridden: true,
  };
}

/** Load as measured, with what the file says instead; what follows from it (free memory, pressure) is made to agree. */
export function overrideLoad(measured: MeasuredLoad, overrides: FactsOverrides, memoryBytes: number): MeasuredLoad {
  const memoryPercent = overrides.memory_percent;
  return {
    cpu_percent: overrides.cpu_percent ?? measured.cpu_percent,
    psi_cpu_some_avg10: overrides.cpu_percent === undefined ? measured.psi_cpu_some_avg10 : null,
    memory_percent: memoryPercent ?? measured.memory_percent,
    memory_available_bytes:
      memoryPercent === undefined
        ? measured.memory_available_bytes
        : Math.floor(memoryBytes * (1 - memoryPercent / 100)),
    load_1m: overrides.load_1m ?? measured.load_1m,
  };
}

interface ReadFacts {
  /** Null while the file is so young that an equal stamp proves nothing. */
  readonly stamp: string | null;
  readonly content: string;
  readonly overrides: FactsOverrides;
}

function readFacts(path: string): ReadFacts {
  const stamp = stampOf(path);
  if (stamp.size > FACTS_FILE_BYTES_MAX) throw badFacts(path, `is larger than ${FACTS_FILE_BYTES_MAX} bytes`);
  const content = fromFile(path, () => readFileSync(path, 'utf8'));
  let json: unknown;
  try {
    json = JSON.parse(content);
  } catch (error) {
    throw badFacts(path, `is not JSON (${messageOf(error)})`);
  }
  const parsed = overridesSchema.safeParse(json);
  if (!parsed.success) throw badFacts(path, describe(parsed.error, json));
  return { stamp: stamp.settled ? stamp.text : null, content, overrides: parsed.data };
}

function stampOf(path: string): { readonly text: string; readonly size: number; readonly settled: boolean } {
  const stats = fromFile(path, () => statSync(path, { bigint: true }));
  return {
    text: `${stats.dev}.${stats.ino}.${stats.size}.${stats.mtimeNs}.${stats.ctimeNs}`,
    size: Number(stats.size),
    settled: Date.now() - Number(stats.mtimeMs) > SETTLED_MS,
  };
}

function fromFile<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw badFacts(path, `cannot be read (${systemCodeOf(error) || messageOf(error)})`, error);
  }
}

function describe(error: z.ZodError, json: unknown): string {
  const issue = error.issues[0];
  if (issue === undefined) return 'is not valid';
  const keys = `keys are ${Object.keys(overridesSchema.shape).join(', ')}`;
  if (issue.code === 'unrecognized_keys' && issue.path.length === 0)
    return `has the unknown key "${issue.keys[0] ?? ''}"; ${keys}`;
  if (issue.path.length === 0) return `holds ${Array.isArray(json) ? 'a list' : typeof json}, not an object; ${keys}`;
  return `has a bad value at "${issue.path.join('.')}": ${issue.message}`;
}

function badFacts(path: string, what: string, cause?: unknown): MeshError {
  return new MeshError(
    'bad_config',
    `MESHWORK_FACTS_FILE ${path} ${what}. Correct the file or unset the variable.`,
    cause,
  );
}
