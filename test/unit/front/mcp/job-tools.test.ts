import { describe, expect, it } from 'vitest';
import { MeshError } from '../../../../src/base/errors.ts';
import { JobResources } from '../../../../src/front/mcp/job-resources.ts';
import { jobCancel, jobList, jobOutput } from '../../../../src/front/mcp/job-tools.ts';
import { RESULT_CHARS_MAX } from '../../../../src/front/mcp/run-report.ts';
import { FakeDaemon, FINISHED, logOf, of, quiet, recordOf } from './fake-daemon.ts';

const ID = recordOf().job;
const lines = Buffer.from(Array.from({ length: 20_000 }, (_, at) => `line ${at} é\n`).join(''));

function daemonWith(record = recordOf(), later = record): FakeDaemon {
  return new FakeDaemon(undefined, { job: () => record, wait: () => later });
}

describe('job_output', () => {
  it('reads a long output to its end by next_offset, every byte once', async () => {
    const daemon = daemonWith(recordOf(FINISHED));
    daemon.onLogs = logOf(lines, { ended: true });
    let text = '';
    let offset = 0;
    for (let calls = 0; calls < 50; calls++) {
      const { document, isError } = await jobOutput(of(daemon)).run({ job_id: ID, offset }, quiet());
      expect(isError).toBe(false);
      expect(JSON.stringify(document).length).toBeLessThanOrEqual(RESULT_CHARS_MAX);
      expect(document['offset']).toBe(offset);
      text += document['output'] as string;
      offset = document['next_offset'] as number;
      expect(document).toMatchObject({ state: 'finished', return_code: 3, success: false, job_id: ID });
      if (document['at_end'] === true) {
        expect(document['next']).toBeUndefined();
        break;
      }
      expect(document['next']).toContain(`offset ${offset}`);
    }
    expect(text).toBe(lines.toString());
    expect(offset).toBe(lines.byteLength);
  });

  it('takes no more than max_bytes, but a whole character', async () => {
    const daemon = daemonWith();
    daemon.onLogs = logOf(Buffer.from('é€x'), { ended: false });
    const at = async (offset: number, max_bytes: number) =>
      (await jobOutput(of(daemon)).run({ job_id: ID, offset, max_bytes, stream: 'stdout' }, quiet())).document;
    expect(await at(0, 1)).toMatchObject({ output: 'é', next_offset: 2, stream: 'stdout' });
    expect(await at(2, 2)).toMatchObject({ output: '€', next_offset: 5 });
    expect(await at(0, 4)).toMatchObject({ output: 'é', next_offset: 2 });
    expect(await at(5, 4)).toMatchObject({ output: 'x', next_offset: 6, at_end: false });
  });

  it('fits what grows when it is escaped', async () => {
    const daemon = daemonWith();
    daemon.onLogs = logOf(Buffer.alloc(200_000, 27), { ended: false });
    const { document } = await jobOutput(of(daemon)).run({ job_id: ID, max_bytes: 100_000 }, quiet());
    expect(JSON.stringify(document).length).toBeLessThanOrEqual(RESULT_CHARS_MAX);
    expect(document['next_offset']).toBe((document['output'] as string).length / '\\u001b'.length);
  });

  it('waits for new output, and says how to go on', async () => {
    const daemon = daemonWith();
    let grown = Buffer.from('first\n');
    daemon.onLogs = async (request, io) => {
      if (request.follow) grown = Buffer.from('first\nsecond\n');
      return logOf(grown, { ended: false })(request, io);
    };
    const started = performance.now();
    const { document } = await jobOutput(of(daemon)).run({ job_id: ID, offset: 6, wait_s: 60 }, quiet());
    expect(performance.now() - started).toBeLessThan(30_000);
    expect(document).toMatchObject({ output: 'second\n', next_offset: 13, state: 'running', return_code: null });
    expect(document['next']).toContain('do not start it again');
    expect(document['next']).toContain('offset 13 and wait_s 45');
  });

  it('returns when its wait is over, with nothing new', async () => {
    const daemon = daemonWith();
    daemon.onLogs = logOf(Buffer.from('all\n'), { ended: false });
    const { document } = await jobOutput(of(daemon)).run({ job_id: ID, offset: 4, wait_s: 0.1 }, quiet());
    expect(document).toMatchObject({ output: '', next_offset: 4, at_end: false, state: 'running' });
  });

  it('stops waiting where the call is cancelled', async () => {
    const daemon = daemonWith();
    daemon.onLogs = logOf(Buffer.from(''), { ended: false });
    const controller = new AbortController();
    const call = jobOutput(of(daemon)).run({ job_id: ID, wait_s: 1000 }, quiet(controller.signal));
    await expect.poll(() => daemon.reads.length).toBe(2);
    controller.abort();
    expect(await call).toMatchObject({ document: { output: '' } });
  });

  it('waits for the record of the end of a job whose output has ended', async () => {
    const daemon = daemonWith(recordOf(), recordOf(FINISHED));
    daemon.onLogs = logOf(Buffer.from('out\n'), { ended: true });
    const { document } = await jobOutput(of(daemon)).run({ job_id: ID, wait_s: 60 }, quiet());
    expect(document).toMatchObject({ output: 'out\n', at_end: true, state: 'finished', return_code: 3 });
    expect(daemon.calls.map(({ method }) => method)).toEqual(['settings', 'wait']);
  });

  it('says where a job stands in the queue, and why one was refused', async () => {
    const queued = daemonWith(
      recordOf({ state: 'queued', attempts: 0, detail: 'all 3 nodes are full', queue_position: 2 }),
    );
    queued.onLogs = logOf(Buffer.from(''), { ended: false });
    expect((await jobOutput(of(queued)).run({ job_id: ID }, quiet())).document).toMatchObject({
      state: 'queued',
      queue_position: 2,
      detail: 'all 3 nodes are full',
      output: '',
    });
    const error = { code: 'no_capable_node', message: 'none has docker' };
    const refused = daemonWith(recordOf({ state: 'finished', reason: 'refused', attempts: 0, error }));
    refused.onLogs = logOf(Buffer.from(''), { ended: true });
    const { document } = await jobOutput(of(refused)).run({ job_id: ID }, quiet());
    expect(document).toMatchObject({ state: 'finished', reason: 'refused', success: false, error });
    expect(document['next']).toBeUndefined();
  });

  it('still says how a job ended whose output is out of reach', async () => {
    const daemon = daemonWith(recordOf(FINISHED));
    daemon.onLogs = () => Promise.reject(new MeshError('job_unreachable', 'tower is away'));
    expect(await jobOutput(of(daemon)).run({ job_id: ID }, quiet())).toMatchObject({
      isError: true,
      document: { state: 'finished', return_code: 3, output: '', error: { code: 'job_unreachable' } },
    });
  });

  it('tells what was dropped, before and behind', async () => {
    const daemon = daemonWith();
    daemon.onLogs = logOf(Buffer.from('0123456789'), { ended: false, from: 6 });
    expect((await jobOutput(of(daemon)).run({ job_id: ID, offset: 2 }, quiet())).document).toMatchObject({
      offset: 6,
      output: '6789',
      next_offset: 10,
      notices: [expect.stringContaining('bytes 2 to 6 of merged were dropped')],
    });
    daemon.onLogs = async (request, io) => {
      await io.onBytes(Buffer.from('head'));
      io.onGap?.(4, 90);
      await io.onBytes(Buffer.from('tail'));
      return { job: ID, attempt: 1, run_again: null, from: request.offset, next_offset: 94, ended: true };
    };
    expect((await jobOutput(of(daemon)).run({ job_id: ID }, quiet())).document).toMatchObject({
      output: 'head',
      next_offset: 90,
      at_end: false,
      notices: [expect.stringContaining('bytes 4 to 90')],
    });
  });

  it('goes on behind what was dropped, where a read ends there', async () => {
    const daemon = daemonWith();
    daemon.onLogs = async (request, io) => {
      if (request.offset >= 6) return logOf(Buffer.from('0123456789'), { ended: true })(request, io);
      io.onGap?.(request.offset, 6);
      return { job: ID, attempt: 1, run_again: null, from: 6, next_offset: 6, ended: false };
    };
    expect((await jobOutput(of(daemon)).run({ job_id: ID, offset: 2 }, quiet())).document).toMatchObject({
      offset: 6,
      output: '6789',
      next_offset: 10,
      at_end: true,
      notices: [expect.stringContaining('bytes 2 to 6')],
    });
  });

  it('begins anew where the command was run again', async () => {
    const daemon = daemonWith();
    daemon.onLogs = async (request, io) => {
      if (!request.follow) return logOf(Buffer.from('old\n'), { ended: false })(request, io);
      io.onAttempt?.(2);
      await io.onBytes(Buffer.from('new\n'));
      return { job: ID, attempt: 2, run_again: null, from: 0, next_offset: 4, ended: true };
    };
    const { document } = await jobOutput(of(daemon)).run({ job_id: ID, offset: 4, wait_s: 60 }, quiet());
    expect(document).toMatchObject({ output: '', next_offset: 0, at_end: false });
    expect((document['notices'] as string[])[0]).toContain('attempt 2');
  });

  it.each(['job_unknown', 'job_ambiguous', 'job_expired', 'offset_out_of_range'] as const)(
    'answers %s',
    async (code) => {
      const daemon = new FakeDaemon(undefined, { job: () => Promise.reject(new MeshError('job_unknown', 'no')) });
      daemon.onLogs = () => Promise.reject(new MeshError(code, 'why, and what to do'));
      expect(await jobOutput(of(daemon)).run({ job_id: 'JJ', offset: -1 }, quiet())).toMatchObject({
        isError: true,
        document: { output: '', state: null, error: { code, message: 'why, and what to do' } },
      });
    },
  );

  it('takes the address of a job, and refuses what is no argument', async () => {
    const daemon = daemonWith();
    daemon.onLogs = logOf(Buffer.from(''), { ended: true });
    await jobOutput(of(daemon)).run({ job_id: `meshwork://jobs/${ID}` }, quiet());
    expect(daemon.reads[0]?.job).toBe(ID);
    for (const args of [{}, { job_id: '' }, { job_id: ID, offset: 1.5 }, { job_id: ID, stream: 'both' }]) {
      expect(await jobOutput(of(daemon)).run(args, quiet())).toMatchObject({
        isError: true,
        document: { error: { code: 'bad_argument' } },
      });
    }
  });
});

describe('job_cancel', () => {
  const cancel = () => ({ cancelled: true, job: ID });

  it('returns when the job is gone', async () => {
    const gone = recordOf({ state: 'finished', reason: 'cancelled', return_code: 130 });
    const daemon = new FakeDaemon(undefined, { cancel, wait: () => gone });
    expect(await jobCancel(of(daemon)).run({ job_id: '01JOB' }, quiet())).toMatchObject({
      isError: false,
      document: { state: 'finished', reason: 'cancelled', return_code: 130, notices: [] },
    });
  });

  it('says that the end is not confirmed, or that it came by itself', async () => {
    const running = new FakeDaemon(undefined, { cancel, wait: () => recordOf() });
    const { document } = await jobCancel(of(running)).run({ job_id: ID }, quiet());
    expect((document['notices'] as string[])[0]).toContain('not confirmed');
    const ended = new FakeDaemon(undefined, { cancel, wait: () => recordOf(FINISHED) });
    const byItself = await jobCancel(of(ended)).run({ job_id: ID }, quiet());
    expect((byItself.document['notices'] as string[])[0]).toContain('by itself');
  });

  it('is an error of a job that has finished', async () => {
    const finished = () => Promise.reject(new MeshError('job_finished', 'it exited with 0 a minute ago'));
    const daemon = new FakeDaemon(undefined, { cancel: finished });
    expect(await jobCancel(of(daemon)).run({ job_id: ID }, quiet())).toMatchObject({
      isError: true,
      document: { error: { code: 'job_finished', message: 'it exited with 0 a minute ago' } },
    });
  });
});

describe('job_list', () => {
  it('is bounded and says how many are left out', async () => {
    const jobs = Array.from({ length: 500 }, (_, at) => recordOf({ command: `echo ${'x'.repeat(300)} ${at}` }));
    const daemon = new FakeDaemon(undefined, {
      jobs: () => ({ notices: ['tower did not answer\u001b'], jobs, more: 7 }),
    });
    const { document } = await jobList(of(daemon)).run({}, quiet());
    expect(JSON.stringify(document).length).toBeLessThanOrEqual(RESULT_CHARS_MAX);
    const shown = document['jobs'] as Record<string, unknown>[];
    expect(shown.length).toBeGreaterThan(50);
    expect(document['jobs_left_out']).toBe(507 - shown.length);
    expect(shown[0]).toMatchObject({ job_id: ID, state: 'running', submitted: '1970-01-01T00:00:00.000Z' });
    expect(document['notices']).toEqual(['tower did not answer\\u001b']);
  });
});

describe('a job as a resource', () => {
  it('is listed and read with the end of its output', async () => {
    const record = recordOf({ ...FINISHED, stdout_bytes: lines.byteLength });
    const daemon = new FakeDaemon(undefined, {
      job: () => record,
      jobs: () => ({ notices: [], jobs: Array.from({ length: 80 }, () => record), more: 0 }),
    });
    daemon.onLogs = logOf(lines, { ended: true });
    const resources = new JobResources(of(daemon));
    const listed = await resources.list();
    expect(listed).toHaveLength(50);
    expect(listed[0]).toMatchObject({ uri: `meshwork://jobs/${ID}`, name: 'make' });
    const document = await resources.read(`meshwork://jobs/${ID}`);
    expect(JSON.stringify(document).length).toBeLessThanOrEqual(RESULT_CHARS_MAX);
    expect(document['output']).toMatch(/line 19999 é\n$/);
    expect(document).toMatchObject({ state: 'finished', return_code: 3, next_offset: lines.byteLength });
  });

  it('has no other addresses', async () => {
    const resources = new JobResources(of(daemonWith()));
    await expect(resources.read('file:///etc/passwd')).rejects.toMatchObject({ code: 'bad_argument' });
  });
});
