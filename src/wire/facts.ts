import { z } from 'zod';
import { NODE_NAME_CHARS_MAX } from '../base/ids.ts';

/** What a node says of itself. Facts change slowly and travel in its signed member record; load travels in heartbeats. */
export const TOOLS_MAX = 256;
export const LABELS_MAX = 64;
export const GPUS_MAX = 16;
export const CORES_MAX = 4096;
export const SLOTS_MAX = 1024;

export const OS_NAMES = ['linux', 'darwin', 'windows'] as const;
export const ARCH_NAMES = ['x64', 'arm64'] as const;
export const LABEL_KEY = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/;

const toolName = z.string().min(1).max(64);
const version = z.string().max(64);

export const factsSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z0-9._-]+$/)
    .max(NODE_NAME_CHARS_MAX),
  /** The product's version, such as 0.1.0. */
  version,
  os: z.enum(OS_NAMES),
  arch: z.enum(ARCH_NAMES),
  cores: z.number().min(0.01).max(CORES_MAX),
  slots: z.int().min(0).max(SLOTS_MAX),
  memory_bytes: z.number().nonnegative(),
  /** Executables on the job's PATH; the value is the version, '' where it is not known (and then never compared). */
  tools: z
    .record(toolName, version)
    .refine((tools) => Object.keys(tools).length <= TOOLS_MAX, { message: `more than ${TOOLS_MAX} tools` }),
  labels: z
    .record(z.string().regex(LABEL_KEY), z.string().max(128))
    .refine((labels) => Object.keys(labels).length <= LABELS_MAX, { message: `more than ${LABELS_MAX} labels` }),
  gpus: z.array(z.string().max(128)).max(GPUS_MAX),
  on_battery: z.boolean(),
  /** True where MESHWORK_FACTS_FILE overrides what was detected or measured. */
  overridden: z.boolean(),
});
export type Facts = z.infer<typeof factsSchema>;
export type OsName = Facts['os'];
export type ArchName = Facts['arch'];

const percent = z.number().min(0).max(100);

/** A node's load at one moment, as sampled at most once a second. */
export const loadSchema = z.strictObject({
  cpu_percent: percent,
  memory_percent: percent,
  memory_available_bytes: z.number().nonnegative(),
  /** One-minute load average, all cores together. */
  load_1m: z.number().nonnegative(),
  /** Linux PSI `cpu some avg10` in percent; null where the kernel has none. */
  psi_cpu_some_avg10: percent.nullable(),
  jobs_running: z.int().nonnegative(),
  /** Jobs waiting at this node as their origin. */
  jobs_queued: z.int().nonnegative(),
  /** Slots neither running nor leased. */
  slots_free: z.int().nonnegative(),
  /** By the node's own thresholds (`overloaded.*` in config.toml). */
  overloaded: z.boolean(),
});
export type Load = z.infer<typeof loadSchema>;
