// What the coordinator learns of nodes, as values.
import type { MetadataMark } from '../metadata/high-water-mark.ts';

/** One node's answer to a beat of the coordinator. */
export interface NodeReport {
  /** Of the process that answers. */
  readonly incarnation: string;
  /** Longest stall of its event loop since its last report, in ms. */
  readonly loopLagMs: number;
  /** Memory in use for entries as a share of its bound, 0 to 1. */
  readonly memoryUsed: number;
  /** The disk's last error; empty when it works. */
  readonly diskError: string;
  /** Slowest flush since the last report, in ms; 0 without one. */
  readonly diskFlushMs: number;
  /** Time since etcd last answered it, in ms. */
  readonly etcdSilentMs: number;
  readonly peers: readonly PeerSight[];
  /** Offices that a record has given it for longer than it may take to take them (R27). */
  readonly stuckOffices: readonly PartitionTerm[];
  /** In-sync followers that it wants to remove although each is the last one (R10). */
  readonly questions: readonly RemovalQuestion[];
  /** Partitions that it certainly leads in no epoch up to the named one (R15). */
  readonly stopped: readonly PartitionTerm[];
  /** Undefined when it did not say. */
  readonly metadata?: ReportedMark | undefined;
}

/** What a node saw of etcd (R13). */
export interface ReportedMark {
  readonly mark: MetadataMark;
  /** What went back since, for people; empty: nothing. */
  readonly reasons: readonly string[];
}

/** How a node sees another one that it exchanges heartbeats with. */
export interface PeerSight {
  readonly node: string;
  /** Time since it was last heard, in ms. */
  readonly silentMs: number;
  /** Its address refuses connections. */
  readonly isRefused: boolean;
}

export interface PartitionTerm {
  readonly keyspace: string;
  readonly partition: number;
  readonly epoch: number;
}

export interface RemovalQuestion extends PartitionTerm {
  /** The follower that is silent. */
  readonly replica: string;
  readonly node: string;
}

/** Whether a node reaches another one: asked by the coordinator, so that its own isolation fells nobody (R30). */
export interface Probe {
  readonly via: string;
  readonly target: string;
  /** host:port of the target. */
  readonly address: string;
}

/**
 * ANSWERED: a process answered, the one of `incarnation`. REFUSED: the address refuses connections. SILENT: nothing
 * came in time. FAILED: the asked node could not be asked, so nothing is known.
 */
export type ProbeOutcome = { readonly kind: 'ANSWERED'; readonly incarnation: string } | { readonly kind: 'REFUSED' | 'SILENT' | 'FAILED' };
