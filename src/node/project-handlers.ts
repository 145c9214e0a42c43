import type { ApiParams, ApiResults } from '../wire/api.ts';

/** What fronts ask of projects' files: changes that are held, what is kept here, which secrets go along. */
export interface ProjectHandlers {
  apply(params: ApiParams<'apply'>, signal: AbortSignal): Promise<ApiResults['apply']>;
  workspaces(): Promise<ApiResults['workspaces']>;
  remove(params: ApiParams<'workspaces_rm'>): Promise<ApiResults['workspaces_rm']>;
  secrets(params: ApiParams<'secrets'>): Promise<ApiResults['secrets']>;
}
