import { createKeyspaceSpec } from '@atoll/core-membership';
import { OPERATION } from '@atoll/platform-wire';
import { RoutedOperation } from '../domain/routed-operation.ts';

const tag = { high: 0, low: 0 };
const keyspace = { spec: createKeyspaceSpec({ name: 'default', id: 'ks1' }), tag, cursorTag: tag, partitions: [] };

/** An operation that is on no way yet, for specs of the lists that it stands in. */
export function createOperation(options: { readonly kind?: 'get' | 'set'; readonly orderKey?: number; readonly deadlineAtMs?: number } = {}): RoutedOperation {
  const { kind = 'set', orderKey = 1, deadlineAtMs = 1000 } = options;
  return new RoutedOperation({
    kind: kind === 'get' ? OPERATION.GET : OPERATION.SET,
    isWrite: kind === 'set',
    keyspaceName: 'default',
    keyspace,
    partition: 0,
    token: { high: 0, low: orderKey << 2 },
    needsLeader: true,
    body: Buffer.alloc(0),
    tail: Buffer.alloc(0),
    opId: undefined,
    session: Buffer.alloc(0),
    deadlineAtMs,
    startedAtMs: 0,
    span: undefined,
    onDone: () => undefined,
  });
}
