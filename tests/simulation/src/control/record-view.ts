import type { KeyspaceSpec, NodeRecord, NodeSpec, VersionedRecord } from '@atoll/core-membership';
import type { WatchEvent } from '../base/sim-etcd.ts';
import { KEYSPACES, NODES, PARTITIONS, SPECS } from '../names.ts';
import { toVersioned } from '../base/versioned.ts';

/** What a process has seen of etcd by its watch. */
export class RecordView {
  readonly nodes = new Map<string, NodeRecord>();
  readonly specs = new Map<string, NodeSpec>();
  readonly partitions = new Map<string, VersionedRecord>();
  /** Of worlds with copies, by name. */
  readonly keyspaces = new Map<string, KeyspaceSpec>();
  /** Revision of each spec, for writing it. */
  readonly specRevisions = new Map<string, number>();

  onEvents(events: readonly WatchEvent[]): void {
    for (const { key, stored } of events) {
      if (key.startsWith(NODES)) set(this.nodes, key.slice(NODES.length), stored?.value as NodeRecord | undefined);
      else if (key.startsWith(SPECS)) {
        set(this.specs, key.slice(SPECS.length), stored?.value as NodeSpec | undefined);
        set(this.specRevisions, key.slice(SPECS.length), stored?.modRevision);
      } else if (key.startsWith(KEYSPACES)) set(this.keyspaces, key.slice(KEYSPACES.length), stored?.value as KeyspaceSpec | undefined);
      else if (key.startsWith(PARTITIONS)) set(this.partitions, key, stored === undefined ? undefined : toVersioned(stored));
    }
  }

  /** Records in the order of their partitions. */
  records(): VersionedRecord[] {
    return [...this.partitions.values()].sort((a, b) => a.record.partition - b.record.partition);
  }
}

function set<T>(map: Map<string, T>, key: string, value: T | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
