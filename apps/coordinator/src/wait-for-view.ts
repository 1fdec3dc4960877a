import { AtollError } from '@atoll/core-errors';
import type { ClusterView } from '@atoll/platform-etcd';

/** Resolves when the view shows it. Throws DEADLINE_EXCEEDED with `what` after the time, the signal's reason on abort. */
export async function waitForView(
  view: ClusterView,
  isShown: () => boolean,
  { timeoutMs, signal, what }: { readonly timeoutMs: number; readonly signal: AbortSignal; readonly what: string },
): Promise<void> {
  if (isShown()) return;
  const shown = Promise.withResolvers<void>();
  const unsubscribe = view.subscribe(() => {
    if (isShown()) shown.resolve();
  });
  const timer = setTimeout(() => shown.reject(new AtollError('DEADLINE_EXCEEDED', what)), timeoutMs);
  const onAbort = (): void => shown.reject(signal.reason as Error);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await shown.promise;
  } finally {
    unsubscribe();
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}
