import { assert } from '../base/assert.ts';

/** A sans-IO state machine of the core. */
export interface Machine<I, E> {
  step(input: I, nowMs: number): readonly E[];
  /** When it wants its timer input, on the clock of `step`; null = never. */
  nextDeadlineMs(): number | null;
}

interface Registered {
  readonly nextDeadlineMs: () => number | null;
  readonly onTimer: () => void;
  /** After a fault the machine's timer rests until then, so that a deadline that stays due does not spin. */
  restUntilMs: number;
}

/** Inputs waiting while another one is handled; far above what one effect can cause. */
const INBOX_MAX = 100_000;
/** setTimeout takes 31 bits; a far deadline is looked at again then. */
const TIMER_MS_MAX = 60_000;
const FAULT_REST_MS = 1000;
/** A timer this late means that this process did not run, and maybe its whole machine. */
const LATE_MS = 500;
/** Then what others sent meanwhile, or send when they wake, comes in first: it was not they who were silent. */
const CATCH_UP_MS = 250;
/** Not more often: on a machine that is that busy all the time nothing would ever be overdue. */
const CATCH_UPS_APART_MS = 5000;

/** Monotonic milliseconds; never compared across nodes. */
export const nowMs = (): number => performance.now();

/**
 * One inbox and one timer for all machines of this node: inputs are handled one at a time, in order, each to its end
 * with its effects, so no machine is ever re-entered and a run is a sequence of steps.
 *
 * A step or an effect that throws is a bug. It ends that one input, with what effects it had left, and is reported; the
 * others go on, since the jobs of this node should not die of one that is broken.
 */
export class CoreLoop {
  readonly #machines: Registered[] = [];
  #inbox: (() => void)[] = [];
  #draining = false;
  #timer: NodeJS.Timeout | null = null;
  #timerAtMs = Number.POSITIVE_INFINITY;
  /** When the timer should fire. */
  #dueMs = 0;
  /** Deadlines that have passed wait until then. */
  #catchUpUntilMs = Number.NEGATIVE_INFINITY;
  #stopped = false;
  readonly #onFault: (error: unknown) => void;

  /** @param onFault told of every bug; must not throw */
  constructor(onFault: (error: unknown) => void) {
    this.#onFault = onFault;
  }

  /**
   * @param carryOut does one effect; what it causes comes back through `post`
   * @param timerInput what the machine is given when its deadline has come
   * @returns `post`, which queues an input, and `remove`
   */
  add<I, E>(
    machine: Machine<I, E>,
    timerInput: I,
    carryOut: (effect: E) => void,
  ): { readonly post: (input: I) => void; readonly remove: () => void } {
    let removed = false;
    const post = (input: I): void => {
      if (removed || this.#stopped) return;
      this.#enqueue(() => {
        if (removed) return;
        try {
          for (const effect of machine.step(input, nowMs())) carryOut(effect);
        } catch (error) {
          registered.restUntilMs = nowMs() + FAULT_REST_MS;
          this.#onFault(error);
        }
      });
    };
    const registered: Registered = {
      nextDeadlineMs: () => {
        const nextMs = machine.nextDeadlineMs();
        return nextMs === null ? null : Math.max(nextMs, registered.restUntilMs);
      },
      onTimer: () => post(timerInput),
      restUntilMs: 0,
    };
    this.#machines.push(registered);
    return {
      post,
      remove: () => {
        if (removed) return;
        removed = true;
        this.#machines.splice(this.#machines.indexOf(registered), 1);
      },
    };
  }

  stop(): void {
    this.#stopped = true;
    this.#inbox = [];
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #enqueue(task: () => void): void {
    assert(this.#inbox.length < INBOX_MAX, 'the inbox overflows: an effect loops');
    this.#inbox.push(task);
    if (this.#draining) return;
    this.#draining = true;
    for (let next = this.#inbox.shift(); next !== undefined; next = this.#inbox.shift()) next();
    this.#draining = false;
    this.#arm();
  }

  #arm(): void {
    if (this.#stopped) return;
    let next = Number.POSITIVE_INFINITY;
    for (const machine of this.#machines) next = Math.min(next, machine.nextDeadlineMs() ?? Number.POSITIVE_INFINITY);
    if (next === this.#timerAtMs && this.#timer !== null) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#timerAtMs = next;
    if (next === Number.POSITIVE_INFINITY) return;
    const now = nowMs();
    const waitMs = Math.min(TIMER_MS_MAX, Math.max(0, Math.ceil(Math.max(next, this.#catchUpUntilMs) - now)));
    this.#dueMs = now + waitMs;
    this.#timer = setTimeout(() => this.#fire(), waitMs);
  }

  #fire(): void {
    this.#timer = null;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    const now = nowMs();
    if (now - this.#dueMs > LATE_MS && now - this.#catchUpUntilMs > CATCH_UPS_APART_MS) {
      this.#catchUpUntilMs = now + CATCH_UP_MS;
      return this.#arm();
    }
    const due = this.#machines.filter((machine) => (machine.nextDeadlineMs() ?? Number.POSITIVE_INFINITY) <= now);
    for (const machine of due) machine.onTimer();
    if (due.length === 0) this.#arm();
  }
}
