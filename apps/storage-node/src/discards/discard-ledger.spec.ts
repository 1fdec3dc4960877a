import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DiscardReport } from '@atoll/core-replication';
import { eventually } from '@atoll/platform-etcd/testing';
import { DISCARD_FILE, DiscardFile } from './discard-file.ts';
import { DiscardLedger } from './discard-ledger.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'atoll-discards-'));
});

afterEach(() => rm(directory, { recursive: true, force: true }));

const gone = (...keys: string[]): DiscardReport => ({
  generation: { counter: 1, id: 'g1' },
  discarded: keys.length,
  superseded: 1,
  kept: 2,
  unknown: 0,
  listed: keys.map((key, index) => ({ key: Buffer.from(key), version: { generation: 1, epoch: 4, seq: index + 1 }, bytes: 100, isCompared: true })),
});

function open(file?: DiscardFile) {
  const warnings: unknown[] = [];
  const ledger = new DiscardLedger({ file, wallMs: () => 0, logger: { warn: (problem: unknown) => warnings.push(problem) } as never });
  return { ledger, warnings };
}

it('tells together, by keyspace, what was found within a second', async () => {
  const { ledger } = open();
  ledger.add({ keyspace: 'x', partition: 7 }, gone('k1'), 0);
  ledger.add({ keyspace: 'x', partition: 3 }, gone('k2', 'k3'), 500);
  ledger.add({ keyspace: 'y', partition: 0 }, gone('k4'), 900);
  ledger.tick(999);
  expect(ledger.list()).toEqual([]);
  ledger.tick(1000);
  await eventually('it is told', () => ledger.list().length === 1);
  expect(ledger.list()[0]).toEqual({ number: 1, keyspace: 'x', partitions: [3, 7], discarded: 3, superseded: 2, kept: 4, unknown: 0, firstKeys: ['k1', 'k2', 'k3'], listFile: '' });
});

it('tells everything until it is taken in, in bounded reports (I10)', async () => {
  const { ledger } = open();
  for (let index = 0; index < 100; index += 1) ledger.add({ keyspace: `x${index}`, partition: 0 }, gone('k'), 0);
  await ledger.close();
  expect(ledger.list()).toHaveLength(8);
  // The oldest went: nobody asked for so long.
  expect(ledger.list()[0]!.number).toBe(37);
  ledger.taken(38);
  expect(ledger.list()[0]!.number).toBe(39);
  ledger.taken(0);
  expect(ledger.list()[0]!.number).toBe(39);
  ledger.taken(100);
  expect(ledger.list()).toEqual([]);
});

it('writes every listed key beside the data', async () => {
  const { ledger } = open(new DiscardFile(directory));
  ledger.add({ keyspace: 'x', partition: 7 }, gone('k1', '\u0000'), 0);
  await ledger.close();
  const path = join(directory, DISCARD_FILE);
  expect(ledger.list()[0]).toMatchObject({ firstKeys: ['k1', '0x00'], listFile: path });
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n').map((line) => JSON.parse(line) as object);
  expect(lines).toEqual([
    { at: '1970-01-01T00:00:00.000Z', keyspace: 'x', partition: 7, key: 'k1', keyHex: '6b31', generation: 1, epoch: 4, seq: 1, bytes: 100, isCompared: true },
    { at: '1970-01-01T00:00:00.000Z', keyspace: 'x', partition: 7, key: '\u0000', keyHex: '00', generation: 1, epoch: 4, seq: 2, bytes: 100, isCompared: true },
  ]);
});

it('keeps one file before the present one, so that they stay bounded (I10)', async () => {
  const file = new DiscardFile(directory, 10);
  for (const line of ['the first line', 'the second line', 'the third line']) await file.append([line]);
  expect(await readFile(file.path, 'utf8')).toBe('the third line\n');
  expect(await readFile(join(directory, 'discarded.old.jsonl'), 'utf8')).toBe('the second line\n');
});

it('tells the first keys all the same when the disk does not take the list', async () => {
  const { ledger, warnings } = open(new DiscardFile(join(directory, 'x\0')));
  ledger.add({ keyspace: 'x', partition: 7 }, gone('k1'), 0);
  await ledger.close();
  expect(ledger.list()[0]).toMatchObject({ firstKeys: ['k1'], listFile: '' });
  expect(warnings).toHaveLength(1);
});
