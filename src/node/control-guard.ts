import type { JobId } from '../base/ids.ts';
import type { ApiErrorBody, ApiRequest } from '../wire/api.ts';
import { NESTING_MAX } from '../wire/job-spec.ts';

/** What is known of jobs whose processes may be on the other end of the control socket. */
export interface NestingBook {
  /** How deep a job is inside others, where it runs here or was submitted here and is unfinished; null otherwise. */
  depthOf(job: string): number | null;
  /** True where `name`, an id or the beginning of one, means a job that was submitted from within `parent`. */
  isWithin(name: string, parent: string): boolean;
}

/**
 * A guard rail against mistakes, not a boundary: what a process inside a job may ask of the daemon. It may submit, look
 * at the mesh, and follow or end what it submitted.
 *
 * @param parent MESHWORK_JOB_ID of the client's environment
 * @returns null where it may
 */
export function refusalInsideJob(request: ApiRequest, parent: string | null, book: NestingBook): ApiErrorBody | null {
  const depth = parent === null ? null : book.depthOf(parent);
  if (parent === null || depth === null) return null;
  const notPermitted = (why: string): ApiErrorBody => ({
    code: 'not_permitted',
    message: `refused inside job ${parent}: ${why}; nothing was done`,
  });
  switch (request.method) {
    case 'status':
    case 'explain':
    case 'estimate':
      return null;
    case 'submit': {
      if (depth < NESTING_MAX) return null;
      const message = `refused inside job ${parent}: it is ${depth} jobs deep, and jobs in jobs go ${NESTING_MAX} deep at most; nothing was run`;
      return { code: 'nested_too_deep', message };
    }
    case 'job':
    case 'wait':
    case 'logs':
    case 'cancel':
    case 'attach':
    case 'detach':
    case 'resize':
      if (book.isWithin(request.params.job, parent)) return null;
      return notPermitted('a job may follow and end only the jobs that it submitted');
    default:
      return notPermitted('a job cannot steer the mesh');
  }
}

/** Depth of what a client submits: one more than the job that it is inside of. */
export function parentOf(
  parent: string | null,
  book: NestingBook,
): { readonly job: JobId; readonly depth: number } | null {
  const depth = parent === null ? null : book.depthOf(parent);
  return parent === null || depth === null ? null : { job: parent as JobId, depth: depth + 1 };
}
