// Backups, readers, removals, collections and take-overs on one repository, one step of storage after the other in an order that a
// seed decides. Any of them may stand still for long, or for ever, between any two steps.
import { encodeChunk } from '@atoll/core-archive';
import { isAtollError } from '@atoll/core-errors';
import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { nodeArchiveCodec } from '../codec/node-archive-codec.ts';
import { Repository } from '../repository.ts';
import { COLLECTIONS_PREFIX, FOSSILS_PREFIX, REVOKED, SESSIONS_PREFIX, collectionKey, sessionKey, manifestKey, parseManifestKey } from '../repository-layout.ts';
import { InMemoryObjectStore, InMemoryObjects } from '../testing/in-memory-object-store.ts';
import { sampleChunkRef, sampleManifest } from '../testing/sample-manifest.ts';
import { collectGarbage } from './collect-garbage.ts';
import { removeArchives } from './remove-archives.ts';
import { Session, listSessions, revokeEarlierSessions, revokeSession } from './session.ts';

const SEED = 20_261_122;
/** `ATOLL_SEEDS=2000` looks further. */
const SEEDS = Number(process.env['ATOLL_SEEDS'] ?? 24);
const CONTENTS = 6;
const ABANDONED_AFTER_MS = 10_000;
const EXPECTED = new Set(['ARCHIVE_IN_USE', 'ARCHIVE_NOT_FOUND', 'STALE_FENCING_TOKEN']);

type Kind = 'write' | 'read' | 'remove' | 'collect' | 'take-over';

interface Actor {
  readonly kind: Kind;
  readonly name: string;
  /** Does what it waits for; undefined while it does not wait. */
  go: (() => void) | undefined;
  isDone: boolean;
  /** It is not chosen before this step. */
  sleepsUntil: number;
}

/** A rule that is broken on purpose: what a listing does not tell to some. */
type Mutant = { readonly kind: Kind; readonly hides: string };

class World {
  readonly objects = new InMemoryObjects();
  readonly actors: Actor[] = [];
  /** What each manifest needs, by its key. */
  readonly published = new Map<string, { readonly chunks: readonly string[]; readonly parent: string | undefined }>();
  /** What sessions that read were promised. */
  readonly reading = new Map<string, string>();
  readonly story: string[] = [];
  readonly #random: SeededRandom;
  readonly #mutant: Mutant | undefined;
  #token = 0;
  #step = 0;

  constructor(seed: number, mutant?: Mutant) {
    this.#random = new SeededRandom(seed);
    this.#mutant = mutant;
  }

  below(bound: number): number {
    return randomBelow(this.#random, bound);
  }

  /** With it its own token: a later one is a later holder of the lock, whether the earlier ones know or not. */
  async start(kind: Kind): Promise<void> {
    this.#token += 1;
    const token = this.#token;
    const actor: Actor = { kind, name: `${kind} ${token}`, go: undefined, isDone: false, sleepsUntil: 0 };
    const store = this.#storeOf(actor);
    this.actors.push(actor);
    const run = async (): Promise<void> => {
      const repository = await Repository.open({ store, codec: nodeArchiveCodec }, { newId: 'r1', nowMs: 0 });
      await this.#act(kind, repository, { clusterId: 'c1', fencingToken: token, number: 1 });
    };
    void run().then(
      () => (actor.isDone = true),
      (error: unknown) => {
        actor.isDone = true;
        this.story.push(`${actor.name}: ${isAtollError(error) ? error.reason : String(error)}`);
        if (!isAtollError(error) || !EXPECTED.has(error.reason)) this.story.push(`UNEXPECTED ${String((error as Error).stack)}`);
      },
    );
  }

  async play(steps: number): Promise<string | undefined> {
    const kinds: readonly Kind[] = ['write', 'write', 'write', 'write', 'read', 'remove', 'remove', 'collect', 'collect', 'take-over'];
    for (; this.#step < steps; this.#step += 1) {
      if (this.actors.filter(({ isDone }) => !isDone).length < 5) await this.start(kinds[this.below(kinds.length)]!);
      await this.settle();
      const ready = this.actors.filter(({ go, sleepsUntil }) => go !== undefined && sleepsUntil <= this.#step);
      const chosen = ready[this.below(Math.max(1, ready.length))];
      if (chosen === undefined) continue;
      const chance = this.below(100);
      if (chance < 4) chosen.sleepsUntil = this.#step + 20 + this.below(150);
      else if (chance < 5) this.crash(chosen);
      else if (chance < 6) this.jump();
      else await this.advance(chosen);
      const problem = this.problem();
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  /** Time passes in which no collection stood still and goes on: that is what `abandonedAfterMs` says of them. */
  jump(): void {
    for (const actor of this.actors) if (actor.kind === 'collect' && !actor.isDone) this.crash(actor);
    this.objects.nowMs += ABANDONED_AFTER_MS;
  }

  crash(actor: Actor): void {
    this.story.push(`${actor.name} stops for ever`);
    actor.go = undefined;
    actor.isDone = true;
  }

  async advance(actor: Actor): Promise<void> {
    const { go } = actor;
    actor.go = undefined;
    go?.();
    await this.settle();
  }

  /** Until everybody waits for a step, or is done. */
  settle(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  /** All that is still under way ends; then two collections. */
  async finish(): Promise<void> {
    for (const actor of this.actors) if (!actor.isDone) this.crash(actor);
    const repository = await Repository.open({ store: new InMemoryObjectStore(this.objects), codec: nodeArchiveCodec }, { newId: 'r1', nowMs: 0 });
    this.objects.nowMs += ABANDONED_AFTER_MS;
    for (const open of await listSessions(repository)) await revokeSession(repository, open);
    for (const number of [1, 2]) await this.collect(repository, { clusterId: 'c1', fencingToken: 999_999, number });
  }

  collect(repository: Repository, id: Parameters<typeof collectGarbage>[0]['id']) {
    return collectGarbage({ repository, id, nowMs: this.objects.nowMs, chunkAgeMsMin: 0, abandonedAfterMs: ABANDONED_AFTER_MS, besideWriters: this.below(2) === 0, mayGoOn: () => true });
  }

  /** What is promised and is not so; undefined when all is well. */
  problem(): string | undefined {
    const unexpected = this.story.find((line) => line.startsWith('UNEXPECTED'));
    if (unexpected !== undefined) return unexpected;
    const { objects } = this.objects;
    const there = new Set([...objects.keys()].map((key) => this.#chunkOf(key)));
    const archives = new Set(this.#inForce().map((key) => parseManifestKey(key)!.archive));
    for (const key of this.#inForce()) {
      const { chunks, parent } = this.published.get(key)!;
      const missing = chunks.find((chunk) => !there.has(chunk));
      if (missing !== undefined) return `${key} needs chunk ${missing}, which is gone`;
      if (parent !== undefined && !archives.has(parent)) return `${key} goes on from ${parent}, which is gone`;
    }
    for (const [session, archive] of this.reading) if (objects.has(sessionKey(session)) && !archives.has(archive)) return `${session} reads ${archive}, which is gone`;
    return undefined;
  }

  chunksLeft(): string[] {
    return [...this.objects.objects.keys()].flatMap((key) => (key.startsWith('chunks/') ? [this.#chunkOf(key)!] : [])).sort();
  }

  chunksNeeded(): string[] {
    return [...new Set(this.#inForce().flatMap((key) => this.published.get(key)!.chunks))].sort();
  }

  #inForce(): string[] {
    return [...this.published.keys()].filter((key) => (this.objects.objects.get(key)?.body.length ?? REVOKED.length) !== REVOKED.length);
  }

  /** Readers find a chunk at its place, and where a collection that is told of set it aside. */
  #chunkOf(key: string): string | undefined {
    const [top, where, id] = key.split('/');
    if (top === 'chunks') return id;
    return key.startsWith(FOSSILS_PREFIX) && this.objects.objects.has(collectionKey(where!)) ? id : undefined;
  }

  #storeOf(actor: Actor): InMemoryObjectStore {
    const step = (what: string): Promise<void> =>
      new Promise((resolve) => {
        actor.go = () => {
          this.story.push(`${actor.name}: ${what}`);
          this.objects.nowMs += 1;
          resolve();
        };
      });
    const store = new InMemoryObjectStore(this.objects, step);
    if (this.#mutant?.kind !== actor.kind) return store;
    const { hides } = this.#mutant;
    const list = store.list.bind(store);
    store.list = (prefix) => list(prefix.startsWith(hides) ? 'nothing/' : prefix);
    return store;
  }

  async #act(kind: Kind, repository: Repository, id: { clusterId: string; fencingToken: number; number: number }): Promise<unknown> {
    switch (kind) {
      case 'write':
        return this.#write(repository, id);
      case 'read':
        return this.#read(repository, id);
      case 'remove': {
        const manifests = await repository.listManifests();
        const chosen = manifests.filter(() => this.below(3) === 0).map(({ archive }) => archive);
        return removeArchives(repository, chosen, id);
      }
      case 'collect':
        return this.collect(repository, id);
      case 'take-over':
        return revokeEarlierSessions(repository, id);
      default:
        return kind satisfies never;
    }
  }

  /** Its lock may be gone and it does not know: `isHeld` always says yes. */
  async #write(repository: Repository, id: { clusterId: string; fencingToken: number; number: number }): Promise<void> {
    const archive = `archive-${id.fencingToken}`;
    const manifests = await repository.listManifests();
    const parent = this.below(2) === 0 ? manifests[this.below(Math.max(1, manifests.length))]?.archive : undefined;
    const session = await Session.begin({ repository, id, purpose: 'WRITE', archive, uses: parent === undefined ? [] : [parent], owner: archive, startedAtMs: 0, isHeld: () => true });
    const refs = [];
    for (let content = 0; content < CONTENTS; content += 1) {
      if (this.below(2) === 0) continue;
      const chunk = await encodeChunk(nodeArchiveCodec, 'ROWS', Buffer.from(`content ${content}`), { level: 0 });
      await session.putChunk(chunk);
      refs.push(sampleChunkRef(chunk));
    }
    this.published.set(manifestKey(archive, session.id), { chunks: refs.map((ref) => ref.id), parent });
    await session.publish(sampleManifest(archive, session.id, refs, { parent }));
    await session.end();
  }

  async #read(repository: Repository, id: { clusterId: string; fencingToken: number; number: number }): Promise<void> {
    const manifests = await repository.listManifests();
    const wanted = manifests[this.below(Math.max(1, manifests.length))]?.archive;
    if (wanted === undefined) return;
    const session = await Session.begin({ repository, id, purpose: 'READ', uses: [wanted], owner: 'reader', startedAtMs: 0, isHeld: () => true });
    this.reading.set(session.id, wanted);
    const isRevoked = (): boolean => !this.objects.objects.has(sessionKey(session.id));
    const manifest = await repository.readManifest(wanted).catch((error: unknown) => {
      // Only who was revoked may find it gone.
      if (isRevoked()) return undefined;
      throw new Error('an archive that is read is gone', { cause: error });
    });
    for (const chunk of manifest?.keyspaces[0]?.ranges[0]?.chunks ?? []) {
      if (isRevoked()) break;
      await repository.readChunk(chunk).catch((error: unknown) => {
        if (!isRevoked()) throw new Error('a chunk that is read is gone', { cause: error });
      });
    }
    this.reading.delete(session.id);
    await session.end();
  }
}

async function playSeed(seed: number, mutant?: Mutant): Promise<{ world: World; problem: string | undefined }> {
  const world = new World(seed, mutant);
  return { world, problem: await world.play(500) };
}

describe(`sessions, removals and collections in any order (seeds from ${SEED})`, () => {
  it(`never lose a chunk, a parent or what is read, and leave no garbage (I9; ${SEEDS} seeds)`, async () => {
    const seen = new Map<string, number>();
    for (let seed = SEED; seed < SEED + SEEDS; seed += 1) {
      const { world, problem } = await playSeed(seed);
      if (problem !== undefined) throw new Error(`seed ${seed}: ${problem}\n${world.story.join('\n')}`);
      await world.finish();
      expect({ seed, problem: world.problem(), left: world.chunksLeft() }).toEqual({ seed, problem: undefined, left: world.chunksNeeded() });
      expect([...world.objects.objects.keys()].filter((key) => key.startsWith(FOSSILS_PREFIX) || key.startsWith(COLLECTIONS_PREFIX))).toEqual([]);
      for (const line of world.story) {
        const what = /(copy chunks|copy fossils|create archives|STALE_FENCING_TOKEN|ARCHIVE_IN_USE)/.exec(line)?.[1];
        if (what !== undefined) seen.set(what, (seen.get(what) ?? 0) + 1);
      }
    }
    // A property that nothing happened to holds easily.
    expect([...seen.keys()].sort()).toEqual(['ARCHIVE_IN_USE', 'STALE_FENCING_TOKEN', 'copy chunks', 'copy fossils', 'create archives']);
  });

  it.each<[string, Mutant]>([
    ['a collection that does not see sessions', { kind: 'collect', hides: SESSIONS_PREFIX }],
    ['a removal that does not see sessions', { kind: 'remove', hides: SESSIONS_PREFIX }],
    ['sessions that do not see what is doomed', { kind: 'write', hides: 'doomed/' }],
  ])('are caught with %s', async (_, mutant) => {
    let problem: string | undefined;
    for (let seed = SEED; problem === undefined && seed < SEED + 10 * SEEDS; seed += 1) ({ problem } = await playSeed(seed, mutant));
    expect(problem).toMatch(/ is gone|UNEXPECTED/);
  });
});
