import type { Socket } from 'node:net';
import { unreachable } from '../base/assert.ts';
import { FrameSocket } from '../adapters/process/frame-socket.ts';
import type { FromRunner, RunnerRefused, ToRunner } from '../wire/runner.ts';
import type { Attempts } from './attempts.ts';
import { parseOrder } from './orders.ts';

/** Who connects has this long to show the key. */
const KEY_DEADLINE_MS = 5000;
const FLUSH_DEADLINE_MS = 2000;

export interface SessionHost {
  readonly attempts: Attempts;
  /** @returns false where it is not the key, or another daemon is served */
  readonly onKey: (session: Session, key: string) => boolean;
  readonly onStop: () => void;
  /** An order that is not understood was answered so. */
  readonly onRefused: (order: string) => void;
  readonly onClose: (session: Session, reason: string | null) => void;
}

/** One connection: nothing until it has shown the key, then the daemon. Its loss ends no attempt. */
export class Session {
  readonly #host: SessionHost;
  readonly #frames: FrameSocket;
  readonly #deadline: NodeJS.Timeout;
  #isOpen = false;

  constructor(socket: Socket, host: SessionHost) {
    this.#host = host;
    this.#frames = new FrameSocket(socket, 'second', {
      onControl: (json) => this.#onControl(json),
      onClose: (reason) => {
        clearTimeout(this.#deadline);
        host.onClose(this, reason);
      },
    });
    this.#deadline = setTimeout(() => this.close('it did not show the key'), KEY_DEADLINE_MS);
  }

  send(message: FromRunner): void {
    this.#frames.sendControl(message);
  }

  /** Closes once what was said last has left. */
  end(): void {
    this.#frames.end();
    setTimeout(() => this.#frames.close('the daemon does not close'), FLUSH_DEADLINE_MS).unref();
  }

  close(reason: string): void {
    this.#frames.close(reason);
  }

  #onControl(json: string): string | null {
    const order = parseOrder(json);
    if (typeof order === 'string') return order;
    if (this.#isOpen) return order.t === 'runner.refused' ? this.#refuse(order) : this.#carryOut(order);
    if (order.t !== 'runner.connect' || !this.#host.onKey(this, order.key)) return 'it is not the daemon';
    clearTimeout(this.#deadline);
    this.#isOpen = true;
    return null;
  }

  #refuse(refusal: RunnerRefused): null {
    this.#host.onRefused(refusal.order);
    this.send(refusal);
    return null;
  }

  #carryOut(order: ToRunner): string | null {
    const { attempts } = this.#host;
    const { mux } = this.#frames;
    switch (order.t) {
      case 'runner.connect':
        return 'it showed the key twice';
      case 'runner.run':
        return attempts.run(order, mux);
      case 'runner.expect':
        attempts.expect();
        return null;
      case 'runner.cancel':
        attempts.cancel(order);
        return null;
      case 'runner.read':
        if (!mux.canOpen([order.stream_id])) return 'it named a stream that cannot be opened';
        attempts.read(order, mux);
        return null;
      case 'runner.park':
        attempts.park(order);
        return null;
      case 'runner.detach':
        attempts.detach(order);
        return null;
      case 'runner.resume_stdin': {
        const { stream_id } = order;
        if (!mux.canOpen([stream_id])) return 'it named a stream that cannot be opened';
        this.send({ t: 'runner.stdin_at', stream_id, bytes: attempts.resumeStdin(order, mux, stream_id) });
        return null;
      }
      case 'runner.resize':
        attempts.resize(order, order.size);
        return null;
      case 'runner.acknowledge':
        attempts.acknowledge(order);
        return null;
      case 'runner.drop':
        attempts.drop(order);
        return null;
      case 'runner.stop':
        this.#host.onStop();
        return null;
      default:
        return unreachable(order);
    }
  }
}
