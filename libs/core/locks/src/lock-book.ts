import { blockerOf, type LockRequest } from './lock-queue.ts';

/** A request with its place in etcd. Requests of one group can conflict, those of different groups never do. */
export interface BookedRequest extends LockRequest {
  readonly key: string;
  readonly group: string;
}

/**
 * The lock requests that a watch has shown, in the order in which etcd made the changes. So a request that was
 * entered at revision n holds its lock as soon as the book stands at n or later and nothing in it blocks the request:
 * whatever could come before it was shown before it.
 */
export class LockBook<Request extends BookedRequest> {
  readonly #groups = new Map<string, Map<string, Request>>();
  #revision = 0;
  #size = 0;

  /** Everything up to here was seen. */
  get revision(): number {
    return this.#revision;
  }

  get size(): number {
    return this.#size;
  }

  countIn(group: string): number {
    return this.#groups.get(group)?.size ?? 0;
  }

  get(group: string, key: string): Request | undefined {
    return this.#groups.get(group)?.get(key);
  }

  /** All that stands: the first look, or one after a gap (R36). */
  replace(requests: Iterable<Request>, revision: number): void {
    this.#groups.clear();
    this.#size = 0;
    for (const request of requests) this.put(request, revision);
    this.#revision = revision;
  }

  put(request: Request, revision: number): void {
    let group = this.#groups.get(request.group);
    if (group === undefined) this.#groups.set(request.group, (group = new Map<string, Request>()));
    if (!group.has(request.key)) this.#size += 1;
    group.set(request.key, request);
    this.#revision = Math.max(this.#revision, revision);
  }

  remove(groupName: string, key: string, revision: number): void {
    const group = this.#groups.get(groupName);
    if (group?.delete(key) === true) this.#size -= 1;
    if (group?.size === 0) this.#groups.delete(groupName);
    this.#revision = Math.max(this.#revision, revision);
  }

  /** `unseen`: the book does not reach to its entry yet. `gone`: it stands no more. */
  stateOf({ group, key, createRevision }: Pick<Request, 'group' | 'key' | 'createRevision'>): 'held' | 'waiting' | 'gone' | 'unseen' {
    if (this.#revision < createRevision) return 'unseen';
    const request = this.get(group, key);
    if (request?.createRevision !== createRevision) return 'gone';
    return this.blockerOf(request) === undefined ? 'held' : 'waiting';
  }

  blockerOf(request: Request): Request | undefined {
    return blockerOf(request, this.#groups.get(request.group)?.values() ?? []);
  }
}
