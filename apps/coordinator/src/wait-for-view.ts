import { AtollError } from '@atoll/core-errors';
import type { ClusterView } from '@atoll/platform-etcd';

/** For what is not seen in the view. */
const RECHECK_MS = 100;

/**
 * Resolves when the view shows it. Throws DEADLINE_EXCEEDED with `what` after the time, the signal's reason on
 * abort, and whatever `isShown` throws.
 */
export async function waitForView(
  view: ClusterView,
  isShown: () => boolean,
  { timeoutMs, signal, what }: { readonly timeoutMs: number; readonly signal: AbortSignal; readonly what: string },
): Promise<void> {
  if (isShown()) return;
  const shown = Promise.withResolvers<void>();
  const check = (): void => {
    try {
      if (isShown()) shown.resolve();
    } catch (error) {
      shown.reject(error);
    }
  };
  const unsubscribe = view.subscribe(check);
  const recheck = setInterval(check, RECHECK_MS);
  const timer = setTimeout(() => shown.reject(new AtollError('DEADLINE_EXCEEDED', what)), timeoutMs);
  const onAbort = (): void => shown.reject(signal.reason as Error);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await shown.promise;
  } finally {
    unsubscribe();
    clearInterval(recheck);
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}
