import { z } from 'zod';

/** What passes between the daemon and the thread that speaks mDNS. The daemon checks it: the thread reads the network. */
export const MESSAGE_CHARS_MAX = 500;
const port = z.int().min(1).max(65_535);
const text = z.string().max(MESSAGE_CHARS_MAX);

export const fromThreadSchema = z.discriminatedUnion('t', [
  z.strictObject({ t: z.literal('pong') }),
  z.strictObject({ t: z.literal('running') }),
  z.strictObject({ t: z.literal('failed'), message: text }),
  z.strictObject({ t: z.literal('notice'), text }),
  z.strictObject({
    t: z.literal('hint'),
    host: z.union([z.ipv4(), z.ipv6()]),
    port,
    claimed_id: z.string().regex(/^[a-z2-7]{52}$/),
  }),
]);
export type FromThread = z.infer<typeof fromThreadSchema>;

export type ToThread = { readonly t: 'ping' | 'refresh' | 'stop' };

/** The thread's start data. */
export interface ThreadSettings {
  readonly nodeId: string;
  readonly port: number;
  readonly productVersion: string;
  /** As in `Announcement`. */
  readonly onlyHost: string | null;
}
