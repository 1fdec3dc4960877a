import { setTimeout as pause } from 'node:timers/promises';
import { Metadata, type ClientReadableStream } from '@grpc/grpc-js';
import { CacheService, type ScanRequest, type ScanResponse } from '@atoll/contracts/atoll/v1/cache';
import { AtollError } from '@atoll/core-errors';
import { fromServiceError } from '@atoll/platform-grpc';
import { checkScan } from '@atoll/platform-wire';
import { toBuffer } from './bytes.ts';
import type { ScannedEntry } from './entry.ts';
import type { ScanOptions } from './options.ts';
import type { Transport } from './transport.ts';

const CONSISTENCY = { STRONG: 1, BOUNDED: 2, EVENTUAL: 3 } as const;
const EMPTY: Buffer = Buffer.alloc(0);
const REPEATABLE: ReadonlySet<string> = new Set(['PEER_UNAVAILABLE', 'SHUTTING_DOWN', 'METADATA_UNAVAILABLE', 'PARTITION_UNAVAILABLE']);
const PAUSE_MS = 100;
/** Failures in a row, without an entry between them, that a scan without a deadline bears. */
const FAILURES_MAX = 20;

/** A scan that goes on at the next router, from the last cursor, when one fails. */
export async function* scan(transports: readonly Transport[], options: ScanOptions & { readonly keyspace: string }): AsyncGenerator<ScannedEntry, void, undefined> {
  const { signal } = options;
  const request: ScanRequest = {
    keyspace: options.keyspace,
    prefix: toBuffer(options.prefix ?? ''),
    cursor: EMPTY,
    batchEntries: options.batchEntries ?? 0,
    keysOnly: options.keysOnly ?? false,
    consistency: options.consistency === undefined ? 0 : CONSISTENCY[options.consistency],
    maxStalenessMs: options.maxStalenessMs ?? 0,
    limit: 0,
    partition: undefined,
  };
  checkScan(request);
  const deadline = options.deadlineMs === undefined ? undefined : Date.now() + options.deadlineMs;
  let cursor = EMPTY;
  let failures = 0;
  for (let index = 0; ; index += 1) {
    signal?.throwIfAborted();
    try {
      for await (const { entries, cursor: behind } of read(transports[index % transports.length]!, { ...request, cursor }, { deadline, signal })) {
        failures = 0;
        for (const { key, value, version, expiresAtMs } of entries) yield { key, value, version, expiresAtMs: expiresAtMs || undefined };
        cursor = behind;
      }
      if (cursor.length === 0) return;
      throw new AtollError('PEER_UNAVAILABLE', 'the router ended the scan early');
    } catch (error) {
      const failure = fromServiceError(error);
      failures += 1;
      if (signal?.aborted === true || !REPEATABLE.has(failure.reason) || failures > FAILURES_MAX) throw failure;
      if (failures >= transports.length) await pause(PAUSE_MS, undefined, signal === undefined ? {} : { signal });
    }
  }
}

async function* read(
  transport: Transport,
  request: ScanRequest,
  { deadline, signal }: { readonly deadline: number | undefined; readonly signal: AbortSignal | undefined },
): AsyncGenerator<ScanResponse, void, undefined> {
  const { path, requestSerialize, responseDeserialize } = CacheService.scan;
  const call: ClientReadableStream<ScanResponse> = transport.client.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    request,
    new Metadata(),
    deadline === undefined ? {} : { deadline },
  );
  const onAbort = (): void => call.cancel();
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    yield* call as AsyncIterable<ScanResponse>;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    call.on('error', () => undefined);
    call.cancel();
  }
}
