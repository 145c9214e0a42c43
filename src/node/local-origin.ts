import type { Logger } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { Origin } from '../core/scheduling/origin.ts';
import type { OriginOptions } from '../core/scheduling/origin-ledger.ts';
import type { Config } from './config-schema.ts';
import type { HistoryStore } from './history-store.ts';
import type { Home } from './home.ts';
import { JobBook } from './job-book.ts';
import type { OriginServiceOptions } from './kept-job.ts';
import { OriginService } from './origin-service.ts';
import { TOOL_RULES } from './tool-rules.ts';

export interface LocalOriginOptions extends Omit<OriginServiceOptions, 'origin' | 'book' | 'onFinished'> {
  readonly home: Home;
  readonly config: Config;
  readonly log: Logger;
  readonly random: Random;
  readonly history: HistoryStore;
  readonly nodes: OriginOptions['nodes'];
  readonly unheard: NonNullable<OriginOptions['unheard']>;
  readonly settledAtMs: NonNullable<OriginOptions['settledAtMs']>;
  readonly isMember: NonNullable<OriginOptions['isMember']>;
}

/** This node as an origin: its scheduler, its book on the disk, and what joins them to the rest of the node. */
export function localOrigin(options: LocalOriginOptions): { readonly origin: Origin; readonly service: OriginService } {
  const { config, log, home, nodes, unheard, settledAtMs, isMember, random, history } = options;
  const book = JobBook.open(home.originJournal, {
    log,
    keepMax: config.jobs.keep_max,
    keepDays: config.jobs.keep_days,
    wallMs: () => Date.now(),
  });
  const rerunObstacle: OriginOptions['rerunObstacle'] = (job) => service.rerunObstacle(job);
  const endsWithClient: OriginOptions['endsWithClient'] = (job) => service.endsWithClient(job);
  const judge = { rules: TOOL_RULES, rerunObstacle, endsWithClient, historyOf: history.of };
  const origin = new Origin({ nodes, unheard, settledAtMs, random, isMember, ...judge });
  const service: OriginService = new OriginService({
    ...options,
    origin,
    book,
    onFinished: (record, spec) => history.onFinished(record, spec),
  });
  return { origin, service };
}
