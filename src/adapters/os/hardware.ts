import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCodeOf } from '../../base/errors.ts';
import { GPUS_MAX } from '../../wire/facts.ts';
import { runBounded } from './bounded-command.ts';

const LOOK_TIMEOUT_MS = 3000;
const OUTPUT_BYTES_MAX = 64 * 1024;
const NAME_CHARS_MAX = 128;

/** Display adapters that compute nothing: a virtual machine's screen and a board's management chip. */
const NO_GPU = /virtio|bochs|qxl|cirrus|vmware|svga|virtualbox|aspeed|matrox|hyper-v|basic (display|render)|llvmpipe/i;

export interface HardwareOptions {
  readonly platform: NodeJS.Platform;
  /** Where `/proc`, `/sys` and `/dev` are; only tests give another than `/`. */
  readonly root: string;
  /** `nvidia-smi` on the job's PATH, or null. */
  readonly nvidiaSmi: string | null;
  readonly env: Readonly<Record<string, string>>;
  /** For each program that is asked, 3 s if not given; only tests are more patient. */
  readonly timeoutMs?: number;
}

/**
 * Names of the GPUs that a job could use, '' never among them. NVIDIA's are read here, since `systeminformation` runs
 * nvidia-smi synchronously, which may hold the event loop for seconds; it is asked about the others.
 */
export async function detectGpus(options: HardwareOptions): Promise<readonly string[]> {
  const nvidia = options.platform === 'linux' ? await nvidiaGpus(options) : [];
  const others =
    nvidia.length === 0 && options.nvidiaSmi === null && (await mayHaveGraphics(options)) ? await graphicsCards() : [];
  return [...nvidia, ...others].map((name) => name.trim().slice(0, NAME_CHARS_MAX)).slice(0, GPUS_MAX);
}

/** True where the machine says that it draws on its battery now; a desktop, and what cannot be known, is false. */
export async function readOnBattery(platform: NodeJS.Platform, root: string): Promise<boolean> {
  if (platform === 'linux') return linuxOnBattery(join(root, 'sys/class/power_supply'));
  if (platform !== 'darwin') return false;
  const { battery } = await import('systeminformation');
  const state = await within(battery());
  return state !== null && state.hasBattery && !state.acConnected;
}

/** macOS: memory that could be had without swapping, in bytes; null where it cannot be known. */
export async function readAvailableMemory(): Promise<number | null> {
  const { mem } = await import('systeminformation');
  return (await within(mem()))?.available ?? null;
}

async function nvidiaGpus(options: HardwareOptions): Promise<readonly string[]> {
  // A container sees the host's /proc/driver/nvidia; only a device node says that the GPU is its to use.
  const hasDevice = (await namesIn(join(options.root, 'dev'))).some((name) => /^nvidia\d+$/.test(name));
  if (hasDevice) {
    const folder = join(options.root, 'proc/driver/nvidia/gpus');
    const names: string[] = [];
    for (const bus of (await namesIn(folder)).slice(0, GPUS_MAX)) {
      const model = /^Model:\s*(.+)$/m.exec((await textOf(join(folder, bus, 'information'))) ?? '')?.[1];
      if (model !== undefined) names.push(model);
    }
    if (names.length > 0) return names;
  }
  if (options.nvidiaSmi === null) return hasDevice ? ['NVIDIA GPU'] : [];
  const end = await runBounded({
    file: options.nvidiaSmi,
    args: ['--query-gpu=name', '--format=csv,noheader'],
    env: options.env,
    cwd: '/',
    timeoutMs: options.timeoutMs ?? LOOK_TIMEOUT_MS,
    outputBytesMax: OUTPUT_BYTES_MAX,
    user: null,
  });
  if (end.kind !== 'exited' || end.code !== 0) return [];
  return end.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line.trim() !== '');
}

async function mayHaveGraphics(options: HardwareOptions): Promise<boolean> {
  if (options.platform === 'darwin') return true;
  return (await namesIn(join(options.root, 'dev/dri'))).some((name) => name.startsWith('renderD'));
}

async function graphicsCards(): Promise<readonly string[]> {
  const { graphics } = await import('systeminformation');
  const cards = (await within(graphics()))?.controllers ?? [];
  return cards
    .filter((card) => !NO_GPU.test(`${card.vendor} ${card.model}`))
    .map((card) => card.model || card.vendor)
    .filter((name) => name.trim() !== '');
}

async function linuxOnBattery(folder: string): Promise<boolean> {
  let discharging = false;
  for (const supply of await namesIn(folder)) {
    const type = (await textOf(join(folder, supply, 'type')))?.trim();
    // A mouse's battery has the scope `Device`.
    const ofDevice = (await textOf(join(folder, supply, 'scope')))?.trim() === 'Device';
    if (type === 'Mains' && (await textOf(join(folder, supply, 'online')))?.trim() === '1') return false;
    if (type === 'Battery' && !ofDevice) {
      discharging ||= (await textOf(join(folder, supply, 'status')))?.trim() === 'Discharging';
    }
  }
  return discharging;
}

/** What another library reads by running programs gets this long; its late answer is dropped. */
async function within<T>(reading: Promise<T>): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), LOOK_TIMEOUT_MS);
    timer.unref();
  });
  try {
    return await Promise.race([reading, late]);
  } finally {
    clearTimeout(timer);
  }
}

const UNREADABLE = ['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'ENODEV', 'EIO', 'EINVAL'];

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (UNREADABLE.includes(systemCodeOf(error))) return [];
    throw error;
  }
}

async function textOf(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (UNREADABLE.includes(systemCodeOf(error))) return null;
    throw error;
  }
}
