/** How long a call that set no deadline waits for its effect, in milliseconds. */
export const WAIT_MS = 30_000;
