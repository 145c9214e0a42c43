import { MeshError } from '../../base/errors.ts';
import type { WorkspaceFiles } from '../../ports/workspace.ts';
import type { ThreadSettings } from './operations.ts';

const later = (): Promise<never> => Promise.reject(new MeshError('later_stage', 'not built yet; nothing was done'));

/** The executor's side of the thread. */
export function createExecutorOperations(_settings: ThreadSettings): WorkspaceFiles {
  return {
    open: later,
    takeManifest: later,
    takePack: later,
    place: later,
    digest: later,
    readNote: later,
    writeNote: later,
    collect: later,
    close: later,
    reopen: later,
    releaseAllBut: later,
    list: later,
    remove: later,
    sweep: later,
  };
}
