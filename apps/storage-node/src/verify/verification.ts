import type { CoordinatorFence } from '../heartbeat/coordinator-fence.ts';
import { MarkerHandlers } from './marker-handlers.ts';
import { ReplicaRepairer, type ReplicaRepairerOptions } from './replica-repairer.ts';

/** What the service `Verification` is served by. */
export class Verification {
  readonly markers: MarkerHandlers;
  readonly repairer: ReplicaRepairer;

  constructor(options: ReplicaRepairerOptions & { readonly fence: CoordinatorFence }) {
    this.markers = new MarkerHandlers(options);
    this.repairer = new ReplicaRepairer(options);
  }
}
