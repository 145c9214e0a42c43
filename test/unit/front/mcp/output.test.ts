import { mkdirSync, readdirSync, readFileSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { OutputCapture } from '../../../../src/front/mcp/output-capture.ts';
import {
  OUTPUT_FILE_BYTES_MAX,
  OUTPUT_FILES_MAX,
  OUTPUT_FOLDER_BYTES_MAX,
  OutputFiles,
} from '../../../../src/front/mcp/output-files.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';

const temporary = temporaryFolders();

describe('an output capture', () => {
  it('keeps a short output whole and makes no file', () => {
    const capture = new OutputCapture(100, () => {
      throw new Error('no file is wanted');
    });
    capture.push(Buffer.from('one\n'));
    capture.push(Buffer.from('two\n'));
    expect(capture.text()).toEqual({ head: 'one\ntwo\n', tail: null });
    expect(capture.totalBytes).toBe(8);
    expect(capture.lastLine()).toBe('two');
  });

  it('keeps the whole of a long output in a file, byte for byte, and its ends in memory', () => {
    const files = new OutputFiles(join(temporary(), 'outputs'));
    const capture = new OutputCapture(100, () => files.create('job.stdout'));
    const bytes = Buffer.from(Array.from({ length: 1000 }, (_, at) => `line ${at} \u001b é\n`).join(''));
    for (let at = 0; at < bytes.byteLength; at += 7) capture.push(bytes.subarray(at, at + 7));
    const whole = capture.keepWhole();
    capture.close();
    expect(whole?.truncated).toBe(false);
    expect(readFileSync(whole?.path ?? '').equals(bytes)).toBe(true);
    expect(statSync(whole?.path ?? '').mode & 0o777).toBe(0o600);
    const { head, tail } = capture.text();
    expect(head).toMatch(/^line 0/);
    expect(tail?.endsWith('line 999 \u001b é\n')).toBe(true);
    expect(`${head}${tail}`).not.toContain('\uFFFD');
  });

  it('writes a short output when it is asked for, once', () => {
    const files = new OutputFiles(join(temporary(), 'outputs'));
    const capture = new OutputCapture(100, () => files.create('job.stdout'));
    capture.push(Buffer.from('short'));
    const path = capture.keepWhole()?.path ?? '';
    expect(capture.keepWhole()?.path).toBe(path);
    capture.close();
    expect(readFileSync(path, 'utf8')).toBe('short');
  });

  it('goes on where the disk fails, and says so', () => {
    const capture = new OutputCapture(4, () => {
      throw new Error('no space left');
    });
    capture.push(Buffer.from('123456789'));
    expect(capture.keepWhole()).toBeNull();
    expect(capture.fileError).toBe('no space left');
    expect(capture.text()).toEqual({ head: '12', tail: '89' });
  });

  it('shows what is not UTF-8 as U+FFFD', () => {
    const capture = new OutputCapture(100, () => null);
    capture.push(Uint8Array.of(0x61, 0xff, 0x62));
    expect(capture.text().head).toBe('a\uFFFDb');
  });
});

describe('the folder of outputs', () => {
  it('bounds one file', () => {
    const files = new OutputFiles(temporary());
    const file = files.create('big');
    const chunk = new Uint8Array(OUTPUT_FILE_BYTES_MAX / 2);
    for (let at = 0; at < 3; at++) file.write(chunk);
    file.close();
    expect(file.truncated).toBe(true);
    expect(statSync(file.path).size).toBe(OUTPUT_FILE_BYTES_MAX);
  });

  it('removes the oldest files by count', () => {
    const folder = temporary();
    const files = new OutputFiles(folder);
    for (let at = 0; at < OUTPUT_FILES_MAX + 5; at++) {
      const file = files.create(`file-${at}`);
      file.close();
      utimesSync(file.path, at, at);
    }
    const left = readdirSync(folder);
    expect(left).toHaveLength(OUTPUT_FILES_MAX);
    expect(left).not.toContain('file-4');
    expect(left).toContain(`file-${OUTPUT_FILES_MAX + 4}`);
  });

  it('removes the oldest files by their size', () => {
    const folder = join(temporary(), 'outputs');
    mkdirSync(folder);
    for (let at = 0; at < 3; at++) {
      const path = join(folder, `old-${at}`);
      writeFileSync(path, '');
      // Sparse: no such space is taken on the disk.
      truncateSync(path, Math.floor(OUTPUT_FOLDER_BYTES_MAX / 3));
      utimesSync(path, at, at);
    }
    new OutputFiles(folder).create('new').close();
    expect(readdirSync(folder).sort()).toEqual(['new', 'old-1', 'old-2']);
  });

  it('never writes over a file', () => {
    const files = new OutputFiles(temporary());
    files.create('same').close();
    expect(() => files.create('same')).toThrow(/EEXIST/);
  });
});
