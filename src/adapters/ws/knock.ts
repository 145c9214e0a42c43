import { createHmac } from 'node:crypto';
import type { Socket } from 'node:net';
import { base32, type MeshId } from '../../base/ids.ts';
import { KNOCK_MS, KNOCKS_MAX } from './limits.ts';

const KNOCK_BYTES = 16;

/**
 * The server name that a dial of this mesh puts into its ClientHello (RFC 6066 §3). It goes over the network in the
 * clear and is no credential: it tells a node under a flood which connections are worth a handshake, since strangers
 * do not know the mesh's id. The id itself cannot be learnt from it.
 */
export function knockOf(mesh: MeshId): string {
  const mac = createHmac('sha256', mesh).update('meshwork knock 1').digest();
  return `${base32(mac.subarray(0, KNOCK_BYTES))}.meshwork`;
}

/** Connections that were turned away and may still knock: a bounded number, each for a short time. */
export class KnockRoom {
  readonly #waiting = new Set<Socket>();

  /**
   * Looks at the first bytes of a connection, which stay readable. A newer connection pushes out the oldest: a knock
   * follows the connection at once, so only who does not knock is there for long.
   *
   * @param onDone told whether it knocked; not called where it is gone
   */
  listen(raw: Socket, knock: string, onDone: (knocked: boolean) => void): void {
    if (this.#waiting.size >= KNOCKS_MAX) {
      const [oldest] = this.#waiting;
      oldest?.resetAndDestroy();
      if (oldest !== undefined) this.#waiting.delete(oldest);
    }
    this.#waiting.add(raw);
    const timer = setTimeout(() => raw.resetAndDestroy(), KNOCK_MS);
    const leave = (): void => {
      clearTimeout(timer);
      this.#waiting.delete(raw);
      raw.off('readable', onReadable);
      raw.off('close', leave);
    };
    const onReadable = (): void => {
      const bytes: unknown = raw.read();
      if (!Buffer.isBuffer(bytes)) return;
      leave();
      raw.unshift(bytes);
      onDone(bytes.includes(knock, 0, 'latin1'));
    };
    raw.on('readable', onReadable);
    raw.once('close', leave);
  }

  close(): void {
    for (const raw of this.#waiting) raw.destroy();
  }
}
