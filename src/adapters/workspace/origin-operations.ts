import { MeshError } from '../../base/errors.ts';
import type { ProjectFiles } from '../../ports/workspace.ts';
import type { ThreadSettings } from './operations.ts';

const later = (): Promise<never> => Promise.reject(new MeshError('later_stage', 'not built yet; nothing was done'));

/** The origin's side of the thread. */
export function createOriginOperations(_settings: ThreadSettings): ProjectFiles {
  return {
    findProject: later,
    scan: later,
    cost: later,
    encodeManifest: later,
    openPacks: later,
    nextPack: later,
    closePacks: later,
    pinManifest: later,
    unpinManifest: later,
    apply: later,
  };
}
