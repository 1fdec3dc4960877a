// What replicas say to each other. The shapes equal those of proto/atoll/v1/replication.proto, so that a shell hands
// them to the generated codec as they are.

export interface LogPosition {
  readonly epoch: number;
  readonly seq: number;
}

export interface SubscribeMessage {
  readonly channel: number;
  readonly keyspace: string;
  readonly partition: number;
  readonly replicaId: string;
  readonly generation: { readonly counter: number; readonly id: string };
  readonly epoch: number;
  readonly end: LogPosition;
  readonly appliedSeq: number;
  readonly installed: boolean;
  readonly installLogSeq: number;
}

export interface AckMessage {
  readonly channel: number;
  readonly epoch: number;
  readonly appendedSeq: number;
  readonly appliedSeq: number;
  readonly freeBytes: number;
  readonly installing: boolean;
}

export interface AppendMessage {
  readonly channel: number;
  readonly epoch: number;
  readonly prev: LogPosition;
  readonly count: number;
  readonly entries: Buffer;
  readonly commitSeq: number;
  readonly timeMs: number;
}

export interface AppendPartMessage {
  readonly channel: number;
  readonly epoch: number;
  readonly prev: LogPosition;
  readonly entryBytes: number;
  readonly offset: number;
  readonly data: Buffer;
}

export interface DivergenceMessage {
  readonly channel: number;
  readonly epoch: number;
  readonly end: LogPosition;
}

export interface InstallOrderMessage {
  readonly channel: number;
  readonly epoch: number;
  readonly generation: { readonly counter: number; readonly id: string };
  readonly logStart: LogPosition;
}

export interface RefusalMessage {
  readonly channel: number;
  readonly reason: string;
  readonly epoch: number;
}

/** A leader's answer to a subscription; `undefined` there means that the log flows. */
export type SubscribeAnswer =
  | { readonly kind: 'divergence'; readonly message: DivergenceMessage }
  | { readonly kind: 'install'; readonly message: InstallOrderMessage }
  | { readonly kind: 'refusal'; readonly message: RefusalMessage }
  | { readonly kind: 'accepted' };
