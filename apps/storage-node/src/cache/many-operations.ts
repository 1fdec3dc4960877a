import type {
  DeleteManyRequest,
  DeleteManyResponse,
  ErrorDetail,
  GetManyRequest,
  GetManyResponse,
  OpId,
  SetManyRequest,
  SetManyResponse,
} from '@atoll/contracts/atoll/v1/cache';
import { AtollError } from '@atoll/core-errors';
import { VALUE_BYTES_MAX } from '@atoll/core-runtime';
import { checkDeleteMany, checkGetMany, checkSetMany, mergeSessions } from '@atoll/platform-wire';
import { readMoment } from '../turn.ts';
import type { CacheOperations, Done } from './cache-operations.ts';

const EMPTY: Buffer = Buffer.alloc(0);
/** Values of one GetMany answer, in bytes: what one message can hold. Those beyond say so. */
const GET_MANY_VALUE_BYTES_MAX = VALUE_BYTES_MAX;

/** GetMany, SetMany and DeleteMany for the keys that this node holds: each key has an outcome of its own. */
export class ManyOperations {
  readonly #operations: CacheOperations;

  constructor(operations: CacheOperations) {
    this.#operations = operations;
  }

  async getMany(request: GetManyRequest): Promise<GetManyResponse> {
    checkGetMany(request);
    const { keyspace, consistency, maxStalenessMs } = request;
    let { session } = request;
    let bytes = 0;
    const now = readMoment();
    const results = await collect(request.keys, (key, done: Done<{ found: boolean; value: Buffer; version: Buffer; expiresAtMs: number; session: Buffer }>) => {
      this.#operations.get({ keyspace, key, consistency, maxStalenessMs, session: request.session }, now, (error, response) => {
        bytes += response?.value.length ?? 0;
        // Let go of at once: ten thousand large values are more than memory has.
        if (bytes > GET_MANY_VALUE_BYTES_MAX && response !== undefined && response.value.length > 0) done(answerFull(), undefined);
        else done(error, response);
      });
    });
    return {
      results: results.map(({ error, response }) => {
        if (response !== undefined) session = mergeSessions(session, response.session);
        const { found, value, version, expiresAtMs } = response ?? { found: false, value: EMPTY, version: EMPTY, expiresAtMs: 0 };
        return { found, value, version, expiresAtMs, error: error && toDetail(error) };
      }),
      session,
    };
  }

  async setMany(request: SetManyRequest): Promise<SetManyResponse> {
    checkSetMany(request);
    const { keyspace, ack } = request;
    let { session } = request;
    const now = readMoment();
    const results = await collect(request.entries, ({ key, value, ttlMs, noExpiry }, done: Done<Written>, index) => {
      const opId = opIdAt(request.opId, index);
      const rest = { condition: 0 as const, expectedVersion: EMPTY, session: request.session, fence: request.fence };
      this.#operations.set({ keyspace, key, value, ttlMs, noExpiry, ack, opId, ...rest }, now, done);
    });
    return {
      results: results.map(({ error, response }) => {
        if (response !== undefined) session = mergeSessions(session, response.session);
        return { applied: response?.applied ?? false, version: response?.version ?? EMPTY, error: error && toDetail(error) };
      }),
      session,
    };
  }

  async deleteMany(request: DeleteManyRequest): Promise<DeleteManyResponse> {
    checkDeleteMany(request);
    const { keyspace, ack } = request;
    let { session } = request;
    const now = readMoment();
    const results = await collect(request.keys, (key, done: Done<Written>, index) => {
      const opId = opIdAt(request.opId, index);
      this.#operations.delete({ keyspace, key, expectedVersion: EMPTY, ack, opId, session: request.session, fence: request.fence }, now, done);
    });
    return {
      results: results.map(({ error, response }) => {
        if (response !== undefined) session = mergeSessions(session, response.session);
        return { applied: response?.applied ?? false, version: response?.version ?? EMPTY, error: error && toDetail(error) };
      }),
      session,
    };
  }
}

interface Written {
  readonly applied: boolean;
  readonly version: Buffer;
  readonly session: Buffer;
}

/** Starts all, in order, and resolves with their outcomes in that order. */
function collect<Item, Response>(
  items: readonly Item[],
  start: (item: Item, done: Done<Response>, index: number) => void,
): Promise<{ readonly error: AtollError | undefined; readonly response: Response | undefined }[]> {
  return Promise.all(
    items.map(
      (item, index) =>
        new Promise<{ error: AtollError | undefined; response: Response | undefined }>((resolve) => {
          start(item, (error, response) => resolve({ error, response }), index);
        }),
    ),
  );
}

const answerFull = (): AtollError => new AtollError('OVERLOADED', 'keys: the answer is full; ask for fewer keys at once', { metadata: { field: 'keys' } });

const opIdAt = (first: OpId | undefined, index: number): OpId | undefined =>
  first === undefined ? undefined : { ...first, counter: first.counter + index };

const toDetail = (error: AtollError): ErrorDetail => ({ reason: error.reason ?? 'INTERNAL', message: error.message, metadata: { ...error.metadata } });
