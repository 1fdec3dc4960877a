import { WalJournal } from './replica-journal.ts';
import { GENERATION, WalFixture, batch, flush, identity, replicaId } from './wal/testing/wal-fixture.ts';
import type { Wal } from './wal/index.ts';

describe('WalJournal', () => {
  const fixture = new WalFixture();
  let wal: Wal;
  let calls: string[];

  beforeEach(async () => {
    calls = [];
    ({ wal } = await fixture.open(await fixture.directory()));
  });

  afterEach(() => fixture.cleanUp());

  function createJournal(durability: 'SYNC' | 'ASYNC'): WalJournal {
    wal.createReplica(identity(1, durability), GENERATION);
    return new WalJournal({
      wal,
      replicaId: replicaId(1),
      isSync: durability === 'SYNC',
      onInstalled: () => calls.push('installed'),
      onWaiting: () => calls.push('waiting'),
    });
  }

  const run = (firstSeq: number, lastSeq = firstSeq) => {
    const { bytes, ...rest } = batch(firstSeq, lastSeq);
    return { ...rest, bytes: Buffer.from(bytes) };
  };

  it('tells once that entries wait, and how far they are on disk (R25)', async () => {
    const journal = createJournal('SYNC');
    journal.append(run(1, 3));
    journal.append(run(4));
    expect(calls).toEqual(['waiting']);
    expect(journal.takeDurable(0)).toBeUndefined();
    await flush(wal);
    expect(journal.takeDurable(wal.durablePosition)).toBe(4);
    expect(journal.takeDurable(wal.durablePosition)).toBeUndefined();
    expect(journal.hasWaiting).toBe(false);
    journal.append(run(5));
    expect(calls).toEqual(['waiting', 'waiting']);
  });

  it('goes on telling of what a truncation left of a run (R28)', async () => {
    const journal = createJournal('SYNC');
    journal.append(run(1, 6));
    journal.truncate(4);
    await flush(wal);
    expect(journal.takeDurable(wal.durablePosition)).toBe(4);
  });

  it('waits for nothing with ASYNC, and forgets what waited when a new lineage begins', async () => {
    const journal = createJournal('ASYNC');
    journal.append(run(1));
    expect(journal.hasWaiting).toBe(false);
    expect(calls).toEqual([]);
    journal.installed();
    expect(calls).toEqual(['installed']);
  });
});
