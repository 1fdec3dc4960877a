import type { ICompare, IEvent, IKeyValue, IRequestOp } from 'etcd3';

import type { Change, Comparison, StoredValue, WatchedChange } from './metadata-store.ts';

// Conversion between the port's types and etcd's messages. Every key lies below ROOT.

const ROOT = '/atoll/v1/';

export const toEtcdKey = (key: string): Buffer => Buffer.from(ROOT + key);

/** First key after all keys with this prefix. The prefix is never empty, because of ROOT. */
export function toRangeEnd(prefix: string): Buffer {
  const end = toEtcdKey(prefix);
  end[end.length - 1]! += 1; // The last byte of a prefix of ours is below 0xff: UTF-8 has no 0xff.
  return end;
}

export function fromKeyValue(pair: IKeyValue): StoredValue {
  return {
    key: pair.key.toString('utf8').slice(ROOT.length),
    value: pair.value.toString('utf8'),
    createRevision: Number(pair.create_revision),
    modRevision: Number(pair.mod_revision),
  };
}

export function fromEvent(event: IEvent): WatchedChange {
  const stored = fromKeyValue(event.kv);
  return { key: stored.key, value: event.type === 'Put' ? stored : undefined };
}

export function toCompare(comparison: Comparison): ICompare {
  const key = toEtcdKey(comparison.key);
  if (comparison.kind === 'modRevisionAtLeast') return { result: 'Greater', target: 'Mod', key, mod_revision: comparison.revision - 1 };
  return comparison.kind === 'modRevision'
    ? { result: 'Equal', target: 'Mod', key, mod_revision: comparison.equals }
    : { result: 'Equal', target: 'Create', key, create_revision: comparison.equals };
}

export function toRequestOp(change: Change): IRequestOp {
  const key = toEtcdKey(change.key);
  return change.kind === 'put'
    ? { request_put: { key, value: Buffer.from(change.value), lease: change.lease?.id ?? 0 } }
    : { request_delete_range: { key } };
}
