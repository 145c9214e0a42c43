import type { LogFields, Logger } from '../base/log.ts';

/** Lines of one kind about one peer within LOG_WINDOW_MS; what is above is counted and told with the next line. */
export const LOG_LINES_PER_WINDOW_MAX = 10;
export const LOG_WINDOW_MS = 10_000;
/** Kinds times peers that are counted; of more, the longest unused is forgotten. */
export const LOG_KINDS_MAX = 1024;

type Level = keyof Logger;

interface Kind {
  readonly level: Level;
  sinceMs: number;
  lines: number;
  suppressed: number;
}

/** A log in which no peer can fill the disk, whatever it makes this node say: each kind of line has a rate. */
export function limitLog(log: Logger, nowMs: () => number): { readonly log: Logger; flush(): void } {
  const kinds = new Map<string, Kind>();

  const kindOf = (level: Level, message: string, fields: LogFields | undefined): Kind => {
    const key = `${message}\n${fields?.['peer'] ?? ''}`;
    const kind = kinds.get(key) ?? { level, sinceMs: nowMs(), lines: 0, suppressed: 0 };
    kinds.delete(key);
    const [oldest] = kinds.keys();
    if (kinds.size >= LOG_KINDS_MAX && oldest !== undefined) kinds.delete(oldest);
    kinds.set(key, kind);
    return kind;
  };

  const at =
    (level: Level) =>
    (message: string, fields?: LogFields): void => {
      const kind = kindOf(level, message, fields);
      if (nowMs() - kind.sinceMs >= LOG_WINDOW_MS) {
        kind.sinceMs = nowMs();
        kind.lines = 0;
      }
      if (kind.lines >= LOG_LINES_PER_WINDOW_MAX) {
        kind.suppressed += 1;
        return;
      }
      kind.lines += 1;
      const { suppressed } = kind;
      kind.suppressed = 0;
      log[level](message, suppressed === 0 ? fields : { ...fields, suppressed });
    };

  return {
    log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    flush: () => {
      for (const [key, { level, suppressed }] of kinds) {
        const [message = '', peer = ''] = key.split('\n');
        if (suppressed > 0) log[level](message, { ...(peer === '' ? {} : { peer }), suppressed });
      }
      kinds.clear();
    },
  };
}
