import { AtollError } from '@atoll/core-errors';
import { KIB } from '@atoll/core-runtime';
import { z } from 'zod';

import { EVENTS_PREFIX } from './cluster-keys.ts';
import { encodeJson, parseJson } from './json-codec.ts';
import { metadataUnavailable } from './metadata-errors.ts';
import type { Comparison, MetadataStore } from './metadata-store.ts';

/** Older events are overwritten. */
export const EVENTS_MAX = 1000;
export const EVENT_BYTES_MAX = 2 * KIB;
/** An event of more partitions names the first of them only. */
export const EVENT_PARTITIONS_MAX = 128;

const APPEND_ATTEMPTS_MAX = 10;
const HEAD_KEY = `${EVENTS_PREFIX}head`;

/** Something that an operator may want to know; message Event of admin.proto. */
export interface ClusterEvent {
  /** Milliseconds since the Unix epoch. */
  readonly atMs: number;
  readonly kind: string;
  /** Empty when the event is not of one keyspace. */
  readonly keyspace: string;
  /** Empty when the event is not of one node. */
  readonly node: string;
  readonly partitions: readonly number[];
  /** For people; cut where the event would be larger than 2 KiB. */
  readonly message: string;
}

const headSchema = z.object({ next: z.number().int().nonnegative() });
const eventSchema = z.object({
  number: z.number().int().nonnegative(),
  atMs: z.number(),
  kind: z.string(),
  keyspace: z.string(),
  node: z.string(),
  partitions: z.array(z.number()),
  message: z.string(),
});

/**
 * Appends one event. The log is a ring of 1000 keys; `events/head` holds the number of the next event, and its
 * compare-and-swap orders the writers. `guard` stands in the transaction beside it (a coordinator's election, R11).
 * Throws METADATA_UNAVAILABLE (the event may be there all the same) and METADATA_CONFLICT when the guard does not
 * hold or others were faster ten times.
 */
export async function appendEvent(store: MetadataStore, event: ClusterEvent, guard: readonly Comparison[] = []): Promise<void> {
  for (let attempt = 0; attempt < APPEND_ATTEMPTS_MAX; attempt += 1) {
    const head = await store.get(HEAD_KEY);
    const parsed = head === undefined ? undefined : parseJson(headSchema, head.value);
    const number = parsed?.kind === 'parsed' ? parsed.value.next : 0;
    const outcome = await store.transact(
      [...guard, { kind: 'modRevision', key: HEAD_KEY, equals: head?.modRevision ?? 0 }],
      [
        { kind: 'put', key: slotKey(number), value: encodeEvent(number, event) },
        { kind: 'put', key: HEAD_KEY, value: encodeJson('event head', { next: number + 1 }) },
      ],
    );
    if (outcome.kind === 'succeeded') return;
    if (outcome.kind === 'unknown') throw metadataUnavailable('append an event', outcome.cause);
  }
  throw new AtollError('METADATA_CONFLICT', `etcd: an event was refused ${APPEND_ATTEMPTS_MAX} times`);
}

/** Newest first. `limit` is 1 to 1000, default 100; an empty `kind` means all. Events that cannot be read are left out. */
export async function listEvents(store: MetadataStore, options: { limit?: number; kind?: string } = {}): Promise<readonly ClusterEvent[]> {
  const { values } = await store.list(EVENTS_PREFIX);
  const numbered = values.flatMap((stored) => {
    const parsed = parseJson(eventSchema, stored.value);
    return parsed.kind === 'parsed' ? [parsed.value] : [];
  });
  return numbered
    .filter((event) => !options.kind || event.kind === options.kind)
    .sort((a, b) => b.number - a.number)
    .slice(0, options.limit || 100)
    .map(({ number: _number, ...event }) => event);
}

const slotKey = (number: number): string => `${EVENTS_PREFIX}${String(number % EVENTS_MAX).padStart(3, '0')}`;

function encodeEvent(number: number, event: ClusterEvent): string {
  let value = { number, ...event, partitions: event.partitions.slice(0, EVENT_PARTITIONS_MAX) };
  while (Buffer.byteLength(JSON.stringify(value)) > EVENT_BYTES_MAX && value.message.length > 0) {
    value = { ...value, message: value.message.slice(0, Math.floor(value.message.length / 2)) };
  }
  return encodeJson('event', value, EVENT_BYTES_MAX);
}
