import { describe, expect, it } from 'vitest';
import { silentLogger, type LogFields } from '../../../src/base/log.ts';
import { limitLog, LOG_KINDS_MAX, LOG_LINES_PER_WINDOW_MAX, LOG_WINDOW_MS } from '../../../src/node/log-limit.ts';

function limited() {
  const lines: { readonly message: string; readonly fields: LogFields | undefined }[] = [];
  let now = 0;
  const sink = { ...silentLogger, warn: (message: string, fields?: LogFields) => void lines.push({ message, fields }) };
  const { log, flush } = limitLog(sink, () => now);
  return { lines, log, flush, pass: (ms: number) => (now += ms) };
}

describe('a limited log', () => {
  it('writes so many lines of a kind about a peer, counts the rest, and tells with the next one', () => {
    const { lines, log, pass } = limited();
    for (let i = 0; i < 50; i++) log.warn('malformed', { peer: 'a' });
    expect(lines.length).toBe(LOG_LINES_PER_WINDOW_MAX);
    pass(LOG_WINDOW_MS);
    log.warn('malformed', { peer: 'a', what: 'x' });
    expect(lines.at(-1)?.fields).toEqual({ peer: 'a', what: 'x', suppressed: 50 - LOG_LINES_PER_WINDOW_MAX });
    log.warn('malformed', { peer: 'a' });
    expect(lines.at(-1)?.fields).toEqual({ peer: 'a' });
  });

  it('keeps no kind and no peer waiting for another', () => {
    const { lines, log } = limited();
    for (let i = 0; i < 50; i++) log.warn('malformed', { peer: 'a' });
    log.warn('malformed', { peer: 'b' });
    log.warn('other', { peer: 'a' });
    log.warn('malformed');
    expect(lines.length).toBe(LOG_LINES_PER_WINDOW_MAX + 3);
  });

  it('says at the end what is unsaid, and remembers a bounded number of kinds', () => {
    const { lines, log, flush } = limited();
    for (let i = 0; i < 12; i++) log.warn('last', { peer: 'a' });
    flush();
    expect(lines.at(-1)).toEqual({ message: 'last', fields: { peer: 'a', suppressed: 2 } });
    for (let i = 0; i < LOG_LINES_PER_WINDOW_MAX; i++) log.warn('last', { peer: 'a' });
    for (let i = 0; i < LOG_KINDS_MAX; i++) log.warn(`kind ${i}`);
    const before = lines.length;
    log.warn('last', { peer: 'a' });
    expect(lines.length).toBe(before + 1);
  });
});
