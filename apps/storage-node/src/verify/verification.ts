import type { CoordinatorFence } from '../heartbeat/coordinator-fence.ts';
import { ContentReader } from './content-reader.ts';
import { MarkerHandlers } from './marker-handlers.ts';
import { ReplicaRepairer, type ReplicaRepairerOptions } from './replica-repairer.ts';

/** What the service `Verification` is served by. */
export class Verification {
  readonly markers: MarkerHandlers;
  readonly repairer: ReplicaRepairer;
  readonly content: ContentReader;

  constructor(options: ReplicaRepairerOptions & { readonly fence: CoordinatorFence }) {
    this.markers = new MarkerHandlers(options);
    this.repairer = new ReplicaRepairer(options);
    this.content = new ContentReader(options);
  }
}
