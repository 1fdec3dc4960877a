import { AtollError } from '@atoll/core-errors';
import type { Random } from '@atoll/core-runtime';
import type { ClusterView, GuardedMetadataStore } from '@atoll/platform-etcd';
import type { NodeHealth } from './domain/node-state.ts';
import type { TermOfOffice } from './term-of-office.ts';

/** What the handlers of Admin work with. */
export interface AdminContext {
  /** Of this coordinator. */
  readonly id: string;
  readonly store: GuardedMetadataStore;
  readonly random: Random;
  /** Undefined until etcd has been read for the first time. */
  view(): ClusterView | undefined;
  /** Undefined while this coordinator is not elected. */
  term(): TermOfOffice | undefined;
  judge(node: string): NodeHealth;
}

/**
 * The view, for a call that changes nothing. While etcd is away nobody is elected for certain, and what was seen
 * last is as good here as anywhere. Throws METADATA_UNAVAILABLE, NOT_COORDINATOR.
 */
export function readView(context: AdminContext): ClusterView {
  const view = openView(context);
  if (view.connected && context.term() === undefined) throw notCoordinator(view, context.id);
  return view;
}

/** For a call that changes something. Throws METADATA_REGRESSED, METADATA_UNAVAILABLE, NOT_COORDINATOR. */
export function requireTerm(context: AdminContext): { readonly view: ClusterView; readonly term: TermOfOffice } {
  const view = openView(context);
  context.store.requireSound();
  if (!view.connected) throw new AtollError('METADATA_UNAVAILABLE', 'etcd is away: nothing can be changed until it is back');
  const term = context.term();
  if (term === undefined) throw notCoordinator(view, context.id);
  return { view, term };
}

/**
 * For a call that reads what only the elected coordinator knows, and for who rebuilds what etcd has lost (R13): while etcd
 * is away too. Throws METADATA_UNAVAILABLE, NOT_COORDINATOR.
 */
export function requireElected(context: AdminContext): { readonly view: ClusterView; readonly term: TermOfOffice } {
  const view = openView(context);
  const term = context.term();
  if (term === undefined) throw notCoordinator(view, context.id);
  return { view, term };
}

function openView(context: AdminContext): ClusterView {
  const view = context.view();
  if (view === undefined) throw new AtollError('METADATA_UNAVAILABLE', 'this coordinator is waiting for etcd');
  return view;
}

/** Names who is elected. The key of an office that this process has lost may still stand: it must not send callers to itself. */
function notCoordinator(view: ClusterView, self: string): AtollError {
  const seen = view.coordinator();
  const elected = seen?.id === self ? undefined : seen;
  const message = elected === undefined ? 'no coordinator is elected at this moment' : `the elected coordinator is ${elected.id} at ${elected.address}`;
  return new AtollError('NOT_COORDINATOR', message, { metadata: { coordinator: elected?.id ?? '', address: elected?.address ?? '' } });
}
