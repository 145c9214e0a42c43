import type { RunObject } from '../../node/api-types.ts';
import { MeshError } from '../../base/errors.ts';
import { JsonOutput, printError, printJson, withOutput, writeTo } from './output.ts';

type Write = (bytes: Uint8Array) => void | Promise<void>;

/** What is kept of a job that has ended until its turn comes; its output is in the spool. */
export type Ended =
  | { readonly kind: 'text'; readonly messages: readonly string[] }
  | { readonly kind: 'json'; readonly document: string };

/** Where the output of one job goes once its turn has come. */
export interface Sink {
  readonly stdout: Write;
  readonly stderr: Write;
  /** Behind the last byte. */
  readonly end: (ended: Ended) => void;
}

/** @param beforeOutput called before anything is written */
export function printerOf(json: boolean, tag: boolean, beforeOutput: () => void): (arg: string) => Sink {
  if (json) return (arg) => jsonSink(arg, beforeOutput);
  return (arg) => {
    const prefix = tag ? `${arg}\t` : '';
    const before =
      (write: Write): Write =>
      (bytes) => {
        beforeOutput();
        return write(bytes);
      };
    return {
      stdout: before(tagged(prefix, process.stdout)),
      stderr: before(tagged(prefix, process.stderr)),
      end: (ended) => {
        if (ended.kind !== 'text') return;
        for (const message of ended.messages) {
          beforeOutput();
          printError(`${arg}: ${message}`);
        }
      },
    };
  };
}

function jsonSink(arg: string, beforeOutput: () => void): Sink {
  const stdout = new JsonOutput();
  const stderr = new JsonOutput();
  return {
    stdout: (bytes) => stdout.push(bytes),
    stderr: (bytes) => stderr.push(bytes),
    end: (ended) => {
      if (ended.kind !== 'json') return;
      const document = JSON.parse(ended.document) as RunObject | { readonly error: object };
      beforeOutput();
      printJson({ arg, ...('job_id' in document ? withOutput(document, stdout, stderr) : document) }, 0);
    },
  };
}

/** @param notes what the batch has to say of it beside its own notices */
export function endedOf(result: RunObject | MeshError, notes: readonly string[], json: boolean): Ended {
  if (result instanceof MeshError) {
    const { code, message } = result;
    return json
      ? { kind: 'json', document: JSON.stringify({ error: { code, message } }) }
      : { kind: 'text', messages: [`${message} [${code}]`] };
  }
  const notices = [...result.notices, ...notes];
  if (json) return { kind: 'json', document: JSON.stringify({ ...result, notices }) };
  const errors = result.error === undefined ? [] : [`${result.error.message} [${result.error.code}]`];
  return { kind: 'text', messages: [...errors, ...notices] };
}

const NEWLINE = 0x0a;

/** Writes with `tag` at the start of every line, as GNU parallel's --tag. */
function tagged(tag: string, stream: NodeJS.WriteStream): Write {
  if (tag === '') return (bytes) => writeTo(stream, bytes);
  const prefix = Buffer.from(tag);
  let atLineStart = true;
  return (bytes) => {
    const parts: Uint8Array[] = [];
    for (let from = 0; from < bytes.byteLength;) {
      if (atLineStart) parts.push(prefix);
      const newline = bytes.indexOf(NEWLINE, from);
      const to = newline < 0 ? bytes.byteLength : newline + 1;
      parts.push(bytes.subarray(from, to));
      atLineStart = newline >= 0;
      from = to;
    }
    return writeTo(stream, Buffer.concat(parts));
  };
}
