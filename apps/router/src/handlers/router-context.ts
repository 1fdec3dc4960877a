import type { Tracing } from '@atoll/platform-telemetry';
import type { Dispatcher } from '../dispatcher.ts';
import type { OpIds } from '../domain/op-ids.ts';
import type { RoutingTable } from '../domain/routing-table.ts';
import type { RouterEvents } from '../events.ts';
import type { RouterCopies } from '../router-copies.ts';
import type { RouterWatches } from '../router-watches.ts';

/** What the handlers of the data path share once the routing table has been read. */
export interface Routing {
  readonly table: RoutingTable;
  readonly dispatcher: Dispatcher;
  readonly opIds: OpIds;
  readonly watches: RouterWatches;
  readonly copies: RouterCopies;
  /** Calls `listener` when the table changed, until the returned function is called. */
  readonly onTable: (listener: () => void) => () => void;
  /** Bytes of results that wait for clients to read them, of all Execute streams, and the bound on them (I10). */
  readonly heldResults: { bytes: number; readonly bytesMax: number };
}

export interface HandlerDeps {
  /** Throws METADATA_UNAVAILABLE until the table has been read. */
  readonly routing: () => Routing;
  readonly tracing: Tracing;
  readonly events: RouterEvents;
  /** Monotonic, in milliseconds. */
  readonly nowMs: () => number;
}
