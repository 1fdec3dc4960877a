/** What a backup was asked for, beside its archive and keyspaces: `ask` of its job. */
export interface BackupAsk {
  readonly kind: 'FULL' | 'INCREMENTAL';
  /** INCREMENTAL: what it goes on from; empty: the newest archive of the same keyspaces. */
  readonly parent: string;
  /** 0: as the service is set. */
  readonly bytesPerSecond: number;
  /** Keyspaces are frozen from before the copy until the cut. */
  readonly offline: boolean;
  /** Undefined: as the service is set. */
  readonly compressionLevel?: number | undefined;
}
