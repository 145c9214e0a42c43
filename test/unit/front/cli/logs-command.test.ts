import * as fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { logsCommand, type LogsOptions } from '../../../../src/front/cli/logs-command.ts';
import type { ApiClient, LogsIo, LogsRequest } from '../../../../src/node/api-client.ts';

vi.mock('node:fs', async (original) => ({ ...(await original<typeof fs>()), writeSync: vi.fn<typeof fs.writeSync>() }));

let printed: Record<number, string>;
let asked: LogsRequest[];

beforeEach(() => {
  printed = { 1: '', 2: '' };
  asked = [];
  vi.mocked(fs.writeSync).mockImplementation((fd: number, bytes: unknown) => {
    printed[fd] += Buffer.from(bytes as Uint8Array).toString();
    return (bytes as Uint8Array).byteLength;
  });
  vi.spyOn(process.stdout, 'write').mockImplementation((bytes, ...rest: unknown[]) => {
    printed[1] += Buffer.from(bytes as Uint8Array).toString('latin1');
    (rest.at(-1) as () => void)();
    return true;
  });
});

afterEach(() => {
  vi.restoreAllMocks();
  process.stdout.removeAllListeners('error');
});

/** Output with a gap in its middle, in pieces that cut characters, then another attempt. */
async function play(io: LogsIo): Promise<void> {
  const text = Buffer.from('aü€');
  for (const byte of text) await io.onBytes(Uint8Array.of(byte));
  io.onGap?.(6, 1000);
  await io.onBytes(Buffer.from('tail'));
  io.onAttempt?.(2);
  await io.onBytes(Buffer.from('again'));
}

const logs = (options: LogsOptions, json: boolean): Promise<number> =>
  logsCommand(
    () =>
      Promise.resolve({
        logs: async (request: LogsRequest, io: LogsIo) => {
          asked.push(request);
          await play(io);
          return { job: 'WHOLE-ID', attempt: 2, run_again: null, from: 0, next_offset: 5, ended: true };
        },
        close: () => undefined,
      } as unknown as ApiClient),
    'WHOLE',
    options,
    json,
  );

describe('logs', () => {
  test('are the bytes on stdout; what is missing is said on stderr, with its offsets', async () => {
    expect(await logs({ follow: true, stream: 'stdout', sinceOffset: '3' }, false)).toBe(0);
    expect(asked).toEqual([{ job: 'WHOLE', stream: 'stdout', offset: 3, follow: true }]);
    expect(Buffer.from(printed[1] ?? '', 'latin1').toString()).toBe('aü€tailagain');
    expect(printed[2]).toMatch(/^meshwork: bytes 6 to 1000 of stdout were dropped.*\nmeshwork: .*attempt 2.*\n$/);
  });

  test('with --json are lines with whole characters and their offsets', async () => {
    expect(await logs({}, true)).toBe(0);
    const lines = (printed[1] ?? '')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
    const at = (offset: number, text: string) => ({ stream: 'merged', offset, bytes: Buffer.byteLength(text), text });
    expect(lines).toEqual([
      at(0, 'a'),
      at(1, 'ü'),
      at(3, '€'),
      { stream: 'merged', gap: { from: 6, to: 1000 } },
      at(1000, 'tail'),
      { stream: 'merged', attempt: 2 },
      at(0, 'again'),
      { job_id: 'WHOLE-ID', attempt: 2, stream: 'merged', next_offset: 5, ended: true },
    ]);
    expect(printed[2]).toBe('');
  });

  test.each([
    [{ stream: 'stdin' }, 'bad_argument'],
    [{ sinceOffset: '1.5' }, 'bad_argument'],
    [{ sinceOffset: '' }, 'bad_argument'],
    [{ sinceOffset: '9007199254740993' }, 'bad_argument'],
    [{ sinceOffset: '-1' }, 'offset_out_of_range'],
  ])('%j is refused before anything is asked', async (options, code) => {
    await expect(logs(options, false)).rejects.toMatchObject({ code });
    expect(asked).toEqual([]);
  });
});
