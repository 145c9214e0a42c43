/**
 * The thread that speaks mDNS for the daemon: the library's faults, a taken port and floods of forged names end here.
 * Bundled on its own; `discovery.ts` starts, watches and restarts it.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { assert, unreachable } from '../../base/assert.ts';
import { NodePresence } from './node-presence.ts';
import type { FromThread, ThreadSettings, ToThread } from './protocol.ts';

assert(parentPort !== null, 'this file runs as a thread of the daemon');
const port = parentPort;
// Both ends are one build in one process: what the daemon sends needs no check.
const settings = workerData as ThreadSettings;
const presence = new NodePresence(settings, (message: FromThread) => port.postMessage(message));

port.on('message', (message: ToThread) => {
  switch (message.t) {
    case 'ping':
      port.postMessage({ t: 'pong' } satisfies FromThread);
      return;
    case 'refresh':
      presence.refresh();
      return;
    case 'stop':
      void presence.stop().finally(() => process.exit(0));
      return;
    default:
      unreachable(message.t);
  }
});
presence.start();
