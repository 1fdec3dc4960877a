import { setTimeout as delay } from 'node:timers/promises';
import type { Io } from '../io.ts';
import { renderStatus } from './status-view.ts';
import type { Supervisor } from './supervisor.ts';

const REFRESH_MS = 1_000;
const EVENTS_SHOWN = 8;
const HOME_AND_CLEAR = '\u001b[H\u001b[J';
const CLEAR_SCREEN = '\u001b[2J';

/** Status on a terminal, drawn anew every second, with the last events under it. */
export class LiveView {
  readonly #io: Io;
  readonly #events: string[] = [];
  #drawing = false;

  constructor(io: Io) {
    this.#io = io;
  }

  /** Shown at once while nothing is drawn, else under the table from the next drawing on. */
  event(line: string): void {
    this.#events.push(`${new Date().toTimeString().slice(0, 8)} ${line}`);
    if (this.#events.length > EVENTS_SHOWN) this.#events.shift();
    if (!this.#drawing) this.#io.stdout.write(`${line}\n`);
  }

  /** Draws until the signal; afterwards lines are plain again. */
  async run(supervisor: Supervisor, signal: AbortSignal): Promise<void> {
    this.#drawing = true;
    this.#io.stdout.write(CLEAR_SCREEN);
    while (!signal.aborted) {
      const text = renderStatus(await supervisor.status(), Date.now());
      if (signal.aborted) break;
      this.#io.stdout.write(`${HOME_AND_CLEAR}${text}\n\n${this.#events.join('\n')}\n\nCtrl-C stops the cluster.\n`);
      await delay(REFRESH_MS, undefined, { signal }).catch(() => undefined);
    }
    this.#drawing = false;
  }
}
