// Cuts over several partitions (R39), with everything between the backup service and the leaders that can be late or fail: messages,
// holds that run out, leaders that were replaced and do not know. And what a reader makes of a partition for an archive.
import { SeededRandom, keyHash, randomBelow, type Hash64 } from '@atoll/core-runtime';
import { FIRST_HASH, PartitionStore, StoreMemory } from '@atoll/core-store';
import { decodeEntry, entryBytesAt } from '../log-entry.ts';
import type { LogPosition } from '../messages.ts';
import { follow, momentAt, openState, pair, recordOf, setTo, takeOffice, type SoloFollower, type SoloLeader } from '../testing/solo.ts';
import { beginOfArchive, readForArchive, type ArchivePlace } from './archive-reader.ts';
import type { BarrierAnswer } from './barrier-hold.ts';

const HELD = { id: 'cut-1', holdMs: 100 };

describe('a leader that is held for the cut of a backup (R39)', () => {
  function held(): { a: SoloLeader; exchange: (nowMs: number) => void; answers: BarrierAnswer[] } {
    const { a, exchange } = pair();
    const answers: BarrierAnswer[] = [];
    a.leader.holdBarrier(HELD, momentAt(10), (answer) => answers.push(answer));
    return { a, exchange, answers };
  }

  it('answers when its marker is committed, lets writes wait before they get a seq (R20), and takes them in their order', () => {
    const { a, exchange, answers } = held();
    const end = a.state.log.end;
    const first = a.write('k', setTo('1'), momentAt(11));
    const second = a.write('k', setTo('2'), momentAt(12));
    expect([answers, a.state.log.end]).toEqual([[], end]);
    exchange(13);
    expect(answers).toEqual([{ kind: 'held', position: end, stampMs: expect.any(Number) }]);
    expect(a.leader.releaseBarrier(HELD.id, momentAt(20))).toEqual({ problem: undefined });
    exchange(21);
    expect([first, second].map(([outcome]) => outcome)).toMatchObject([{ kind: 'done', version: { seq: end.seq + 1 } }, { kind: 'done', version: { seq: end.seq + 2 } }]);
  });

  it('lets writes go on when nobody releases it in time, and then says that it did not stand', () => {
    const { a, exchange } = held();
    exchange(13);
    const outcomes = a.write('k', setTo('1'), momentAt(14));
    a.leader.tick(momentAt(109));
    expect(outcomes).toEqual([]);
    a.leader.tick(momentAt(110));
    exchange(111);
    expect(outcomes).toMatchObject([{ kind: 'done' }]);
    expect(a.leader.releaseBarrier(HELD.id, momentAt(112)).problem).toMatch('writes have gone on');
  });

  it('a write that comes after the time ends the hold by itself, behind those that waited', () => {
    const { a, exchange } = held();
    const first = a.write('k', setTo('1'), momentAt(14));
    const second = a.write('k', setTo('2'), momentAt(200));
    exchange(201);
    expect([first, second].map(([outcome]) => outcome?.kind === 'done' && outcome.version?.seq)).toEqual([3, 4]);
  });

  it('does not stand where it was released before the marker was committed, under another id, or by a leader that left', () => {
    const early = held();
    expect(early.a.leader.releaseBarrier(HELD.id, momentAt(12)).problem).toMatch('not committed');
    expect(early.answers).toMatchObject([{ kind: 'not-held' }]);
    const other = held();
    expect(other.a.leader.releaseBarrier('cut-2', momentAt(12)).problem).toMatch('not held');
    const left = held();
    const outcomes = left.a.write('k', setTo('1'), momentAt(12));
    left.a.leader.leaveOffice();
    expect(left.answers).toMatchObject([{ kind: 'not-held' }]);
    expect(outcomes).toMatchObject([{ kind: 'failed', reason: 'NOT_LEADER' }]);
    expect(left.a.leader.releaseBarrier(HELD.id, momentAt(13)).problem).toMatch('left its office');
  });

  it('does not stand without a lease at the moment of the release: somebody else may lead and write (R16)', () => {
    const a = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }), leaseUntilMs: () => 15 });
    const b = follow(a, openState('b'));
    b.subscribe(0);
    b.receive(0);
    b.acknowledge(0);
    a.leader.holdBarrier(HELD, momentAt(10), () => undefined);
    b.receive(11);
    b.acknowledge(11);
    expect(a.leader.releaseBarrier(HELD.id, momentAt(20)).problem).toMatch('no lease');
  });

  it('is held for one cut at a time, and hands its office over after that', () => {
    const { a } = held();
    const answers: BarrierAnswer[] = [];
    a.leader.holdBarrier({ id: 'cut-2', holdMs: 100 }, momentAt(20), (answer) => answers.push(answer));
    expect(answers).toMatchObject([{ kind: 'not-held', problem: 'the partition is held for another cut' }]);
    const kept: unknown[] = [];
    a.leader.handOver({ target: [...a.leader.followers()][0]!.member.replica, holdMs: 100 }, momentAt(20), (outcome) => kept.push(outcome));
    expect(kept).toMatchObject([{ kind: 'kept', problem: expect.stringContaining('cut of a backup') }]);
  });

  it('removes nothing that expired behind the marker', () => {
    const { a, exchange } = pair();
    a.write('k', setTo('1', momentAt(20).wallMs), momentAt(1));
    exchange(2);
    a.leader.holdBarrier(HELD, momentAt(10), () => undefined);
    const { end } = a.state.log;
    a.leader.tick(momentAt(60));
    expect(a.state.log.end).toEqual(end);
  });
});

const PARTITIONS = 3;
const CLIENTS = 6;
const STEPS = 400;
const LEASE_MS = 15;

interface Write {
  readonly key: string;
  readonly partition: number;
  readonly sentMs: number;
  ackedMs: number;
}

interface Led {
  lead: SoloLeader;
  follower: SoloFollower | undefined;
  /** Granted by the follower with each exchange (R14). */
  leaseUntilMs: number;
}

/** `trusts`: a cut is taken for valid as soon as every marker is committed, whatever the releases say: the mutant. */
class CutWorld {
  readonly random: SeededRandom;
  readonly trusts: boolean;
  readonly led: Led[];
  readonly writes: Write[] = [];
  readonly busy: (Write | undefined)[] = Array.from({ length: CLIENTS }, () => undefined);
  readonly mail: { readonly atMs: number; readonly act: () => void }[] = [];
  nowMs = 0;
  cuts = 0;
  valid = 0;

  constructor(seed: number, trusts: boolean) {
    this.random = new SeededRandom(seed);
    this.trusts = trusts;
    this.led = Array.from({ length: PARTITIONS }, () => this.#open());
  }

  run(): void {
    for (let step = 0; step < STEPS; step += 1) {
      this.nowMs += 1;
      for (const letter of this.mail.splice(0)) {
        if (letter.atMs > this.nowMs) this.mail.push(letter);
        else letter.act();
      }
      if (step % 80 === 10) this.#cut();
      for (const [partition, { lead }] of this.led.entries()) {
        if (this.#below(3) > 0) this.#exchange(partition);
        if (this.#below(4) === 0) lead.leader.tick(momentAt(this.nowMs));
        if (this.#below(150) === 0) this.#failOver(partition);
      }
      for (const client of this.busy.keys()) this.#write(client);
    }
  }

  /** As the backup service does it, with every message late by chance. */
  #cut(): void {
    this.cuts += 1;
    const id = `cut-${this.cuts}`;
    const startedMs = this.nowMs;
    const markers = new Map<number, LogPosition>();
    const asked = this.led.map(({ lead }) => lead.leader);
    let stood = 0;
    const release = (partition: number): void => {
      const { problem } = asked[partition]!.releaseBarrier(id, momentAt(this.nowMs));
      if (problem !== undefined && !this.trusts) return;
      this.#later(() => {
        stood += 1;
        if (stood === PARTITIONS) this.#check(startedMs, markers);
      });
    };
    const onAnswer = (partition: number, answer: BarrierAnswer): void => {
      if (answer.kind === 'not-held') return;
      markers.set(partition, answer.position);
      if (markers.size === PARTITIONS) for (let each = 0; each < PARTITIONS; each += 1) this.#later(() => release(each));
    };
    for (const [partition, leader] of asked.entries()) {
      const holdMs = 5 + this.#below(40);
      this.#later(() => {
        leader.holdBarrier({ id, holdMs }, momentAt(this.nowMs), (answer) => {
          if (this.#below(4) === 0) this.#failOver(partition);
          this.#later(() => onAnswer(partition, answer));
        });
      });
    }
  }

  #check(startedMs: number, markers: ReadonlyMap<number, LogPosition>): void {
    this.valid += 1;
    const inCut = new Set<string>();
    for (const [partition, marker] of markers) {
      const { log } = this.led[partition]!.lead.state;
      if (log.end.seq < marker.seq || log.positionAt(marker.seq).epoch !== marker.epoch) throw new Error('a marker that was committed is gone');
      for (let seq = 1; seq <= marker.seq; seq += 1) {
        const { operation } = log.entryAt(seq);
        if (operation.kind === 'put') inCut.add(Buffer.from(operation.key).toString());
      }
    }
    const latestSentMs = this.writes.reduce((latest, { key, sentMs }) => (inCut.has(key) ? Math.max(latest, sentMs) : latest), startedMs);
    const lost = this.writes.find(({ key, ackedMs }) => ackedMs < latestSentMs && !inCut.has(key));
    if (lost !== undefined) throw new Error(`${lost.key} was acknowledged at ${lost.ackedMs}, before another one of the cut was sent at ${latestSentMs}, and is not in it`);
  }

  #write(client: number): void {
    const before = this.busy[client];
    if (before !== undefined && before.ackedMs === Number.POSITIVE_INFINITY && this.nowMs - before.sentMs < 60) return;
    const partition = this.#below(PARTITIONS);
    const write: Write = { key: `w${this.writes.length}`, partition, sentMs: this.nowMs, ackedMs: Number.POSITIVE_INFINITY };
    this.writes.push(write);
    this.busy[client] = write;
    const { leader } = this.led[partition]!.lead;
    const key = Buffer.from(write.key);
    leader.write({ key, hash: keyHash(key), command: setTo('v'), opId: undefined, ack: 'IN_SYNC' }, momentAt(this.nowMs), (outcome) => {
      if (outcome.kind === 'done') write.ackedMs = this.nowMs;
    });
  }

  #open(): Led {
    const led: Led = { lead: undefined as never, follower: undefined, leaseUntilMs: LEASE_MS };
    led.lead = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }), leaseUntilMs: () => led.leaseUntilMs });
    led.follower = follow(led.lead, openState('b'));
    led.follower.subscribe(0);
    return led;
  }

  /**
   * The leader is cut off, and does not hear that its follower takes its place when the lease is over: only the lease tells it. Once
   * for each partition.
   */
  #failOver(partition: number): void {
    const led = this.led[partition]!;
    if (led.follower === undefined) return;
    const { state } = led.follower;
    led.follower = undefined;
    const takeOver = (): void => {
      led.lead = takeOffice({ state, record: recordOf({ leader: 'b', inSync: ['b'], epoch: 2, revision: 2 }), now: momentAt(this.nowMs) });
    };
    this.mail.push({ atMs: led.leaseUntilMs, act: takeOver });
  }

  #exchange(partition: number): void {
    const led = this.led[partition]!;
    if (led.follower === undefined) return;
    led.follower.receive(this.nowMs);
    led.leaseUntilMs = this.nowMs + LEASE_MS;
    led.lead.leader.onLeaseChanged(this.nowMs);
    led.follower.acknowledge(this.nowMs);
  }

  #later(act: () => void): void {
    this.mail.push({ atMs: this.nowMs + 1 + this.#below(12), act });
  }

  #below(bound: number): number {
    return randomBelow(this.random, bound);
  }
}

describe('a cut over several partitions (R39)', () => {
  it('has with any write all those that were acknowledged before it was sent, whatever is late and whoever leads (seeds 0 to 39)', () => {
    let valid = 0;
    for (let seed = 0; seed < 40; seed += 1) {
      const world = new CutWorld(seed, false);
      world.run();
      valid += world.valid;
    }
    expect(valid).toBeGreaterThan(20);
  });

  it('the mutant that does not ask whether every hold stood is caught (seeds 0 to 39)', () => {
    const run = (): void => {
      for (let seed = 0; seed < 40; seed += 1) new CutWorld(seed, true).run();
    };
    expect(run).toThrow('is not in it');
  });
});

describe('a partition that is read for an archive (R39)', () => {
  const LIMITS = { logBytesMax: 300, slice: { entriesMax: 3, bytesMax: 10_000 } };

  /** As a restore applies it: all rows, then all log; nothing takes the place of something newer. */
  function restored(rows: readonly { key: Buffer; value: Buffer; seq: number; expiresAtMs: number }[], log: readonly Buffer[]): Map<string, string> {
    const store = new PartitionStore({ account: new StoreMemory({ bytesMax: 1e8 }).openAccount('x', 1), random: new SeededRandom(1) });
    const put = (key: Uint8Array, value: Uint8Array, seq: number, expiresAtMs: number): void => {
      const hash = keyHash(key);
      if ((store.peek(key, hash)?.version.seq ?? 0) < seq) store.put({ key, hash, value, version: { generation: 1, epoch: 1, seq }, expiresAtMs });
    };
    const remove = (key: Uint8Array, seq: number): void => {
      const hash = keyHash(key);
      if ((store.peek(key, hash)?.version.seq ?? 0) < seq) store.delete(key, hash);
    };
    for (const { key, value, seq, expiresAtMs } of rows) put(key, value, seq, expiresAtMs);
    for (const bytes of log) {
      for (let at = 0; at < bytes.length; at += entryBytesAt(bytes, at)) {
        const { operation, seq } = decodeEntry(bytes, at);
        if (operation.kind === 'put') put(operation.key, operation.value, seq, operation.expiresAtMs);
        else if (operation.kind === 'delete') remove(operation.key, seq);
        else if (operation.kind === 'expire') {
          const expired = store.readRange(operation.from, operation.to, { entriesMax: 1e6, bytesMax: 1e9 }).entries.filter(({ expiresAtMs, version }) => expiresAtMs > 0 && expiresAtMs <= operation.watermarkMs && version.seq < seq);
          for (const { key } of expired) remove(Buffer.from(key), seq);
        }
      }
    }
    return content(store);
  }

  const content = (store: PartitionStore): Map<string, string> => new Map(store.readRange(FIRST_HASH, undefined, { entriesMax: 1e6, bytesMax: 1e9 }).entries.map(({ key, value, version }) => [Buffer.from(key).toString(), `${value.toString()}@${version.seq}`]));

  it('is at the marker what the archive says, read by any replica, with writes and expiry beside it (seeds 0 to 39)', () => {
    for (let seed = 0; seed < 40; seed += 1) {
      const random = new SeededRandom(seed);
      const { a, b, exchange } = pair();
      let nowMs = 0;
      const write = (): void => {
        nowMs += 1;
        const dice = randomBelow(random, 6);
        const expiresAtMs = dice === 0 ? momentAt(nowMs + 30).wallMs : 0;
        a.write(`key-${randomBelow(random, 40)}`, dice === 1 ? { kind: 'delete' } : setTo(`v${nowMs}`, expiresAtMs), momentAt(nowMs));
        if (randomBelow(random, 4) === 0) exchange(nowMs);
        if (randomBelow(random, 5) === 0) a.leader.tick(momentAt(nowMs));
      };
      for (let index = 0; index < 80; index += 1) write();
      exchange(nowMs);
      const rows: { key: Buffer; value: Buffer; seq: number; expiresAtMs: number }[] = [];
      const log: Buffer[] = [];
      let place: ArchivePlace = beginOfArchive(b.state, FIRST_HASH);
      let marker: LogPosition | undefined;
      const seen: Hash64[] = [];
      for (;;) {
        const state = randomBelow(random, 2) === 0 ? a.state : b.state;
        const reading = readForArchive(state, place, marker, LIMITS);
        if (reading.kind === 'gone') throw new Error(reading.problem);
        if (reading.kind === 'ahead') exchange(nowMs);
        if (reading.kind === 'log') log.push(Buffer.from(reading.bytes));
        if (reading.kind === 'rows') {
          for (const { key, value, version, expiresAtMs } of reading.entries) {
            rows.push({ key: Buffer.from(key), value: Buffer.from(value), seq: version.seq, expiresAtMs });
            seen.push(keyHash(key));
          }
        }
        if ('place' in reading) place = reading.place;
        if (reading.kind === 'end') {
          if (marker !== undefined) break;
          a.leader.holdBarrier({ id: 'cut', holdMs: 100 }, momentAt(nowMs), (answer) => {
            if (answer.kind === 'held') marker = answer.position;
          });
          exchange(nowMs);
          const { problem } = a.leader.releaseBarrier('cut', momentAt(nowMs));
          if (problem !== undefined) throw new Error(problem);
        }
        if (marker === undefined) write();
      }
      exchange(nowMs);
      expect({ seed, content: restored(rows, log) }).toEqual({ seed, content: content(a.state.store) });
      expect(a.state.marks.get(marker)?.count).toBe(a.state.store.entryCount);
      expect(seen).toEqual([...seen].sort((x, y) => x.high - y.high || x.low - y.low));
    }
  });

  it('says so where the log does not go back that far, and where the data is another', () => {
    const { a } = pair();
    const place = beginOfArchive(a.state, FIRST_HASH);
    expect(readForArchive(a.state, { ...place, generation: { counter: 1, id: 'other' } }, undefined, LIMITS)).toMatchObject({ kind: 'gone' });
    expect(readForArchive(a.state, { ...place, position: { epoch: 7, seq: 1 } }, undefined, LIMITS)).toMatchObject({ kind: 'gone' });
    expect(readForArchive(a.state, { ...place, position: { epoch: 1, seq: 99 } }, undefined, LIMITS)).toEqual({ kind: 'ahead' });
    a.state.log.reset({ epoch: 1, seq: 5 });
    expect(readForArchive(a.state, place, undefined, LIMITS)).toMatchObject({ kind: 'gone', problem: 'the log begins behind 5, and what follows 1 is wanted' });
  });
});
