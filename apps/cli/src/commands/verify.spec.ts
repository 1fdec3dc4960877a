import { Server, ServerCredentials, type ServerWritableStream } from '@grpc/grpc-js';
import { Readable, Writable } from 'node:stream';
import {
  AdminService,
  RangeState,
  type PartitionComparison,
  type SyncReplicasRequest,
  type SyncReplicasResponse,
  type VerifyReplicasRequest,
  type VerifyReplicasResponse,
} from '@atoll/contracts/atoll/v1/admin';
import { AtollError } from '@atoll/core-errors';
import { toServiceError } from '@atoll/platform-grpc';
import { runCli } from '../cli.ts';

const equal: PartitionComparison = { keyspace: 'default', partition: 1, leader: 'a', entries: 5, problem: '', markerEpoch: 1, markerSeq: 9, replicas: [{ node: 'b', equal: 64, ranges: [], problem: '' }] };
const rangeIn = (state: RangeState) => ({ leaf: 1, hashStart: 2n ** 58n, hashEnd: 2n ** 59n - 1n, state, entries: 3, bytes: 2048 });
const withRange = (state: RangeState): PartitionComparison => ({ ...equal, partition: 0, replicas: [{ node: 'b', equal: 63, ranges: [rangeIn(state)], problem: '' }] });

describe('atoll verify and atoll sync (R34)', () => {
  let server: Server;
  let coordinator: string;
  let reports: PartitionComparison[] = [];
  let failure: AtollError | undefined;
  const asked: unknown[] = [];

  beforeAll(async () => {
    server = new Server();
    const answer = (call: ServerWritableStream<VerifyReplicasRequest | SyncReplicasRequest, VerifyReplicasResponse | SyncReplicasResponse>): void => {
      asked.push(call.request);
      if (failure !== undefined) {
        call.emit('error', toServiceError(failure));
        return;
      }
      for (const [index, partition] of reports.entries()) call.write({ partition, done: index + 1, total: reports.length });
      call.end();
    };
    server.addService(AdminService, { verifyReplicas: answer, syncReplicas: answer });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error)));
    });
    coordinator = `127.0.0.1:${port}`;
  });

  beforeEach(() => {
    reports = [];
    failure = undefined;
    asked.length = 0;
  });

  afterAll(() => server.forceShutdown());

  async function run(...args: string[]) {
    const texts = { out: '', err: '' };
    const collect = (name: 'out' | 'err', isTTY = false): Writable & { isTTY: boolean } =>
      Object.assign(
        new Writable({
          write(chunk: Buffer, _encoding, done) {
            texts[name] += chunk.toString('utf8');
            done();
          },
        }),
        { isTTY },
      );
    const code = await runCli([...args, '--coordinator', coordinator], { stdin: Readable.from([]), stdout: collect('out'), stderr: collect('err', true), env: {}, cwd: '/' });
    return { code, ...texts };
  }

  it('tells sums, and progress to a terminal only while it lasts', async () => {
    reports = [equal, { ...equal, partition: 0 }];
    const { code, out, err } = await run('verify');
    expect(code).toBe(0);
    expect(out).toBe('2 partitions, 2 followers: 128 ranges equal, 0 repaired (0 B), 0 different, 0 contested\n');
    expect(err).toContain('[##############################] 2 of 2 partitions');
    expect(err.endsWith('\r\u001B[2K')).toBe(true);
    expect(asked).toEqual([{ keyspace: '', partitions: [], reportOnly: false }]);
  });

  it.each([
    [RangeState.RANGE_STATE_REPAIRED, 0, 'REPAIRED'],
    [RangeState.RANGE_STATE_DIFFERENT, 1, 'DIFFERENT'],
    [RangeState.RANGE_STATE_CONTESTED, 1, 'CONTESTED'],
  ] as const)('a range in state %i: exit code %i', async (state, exitCode, name) => {
    reports = [equal, withRange(state)];
    const { code, out } = await run('verify', '--keyspace', 'default', '--partition', '0', '--partition', '1', '--report-only');
    expect(code).toBe(exitCode);
    expect(out).toMatch(new RegExp(`default +0 +b +1 +0400000000000000 +${name} +3 +2.0 KiB`));
    expect(asked).toEqual([{ keyspace: 'default', partitions: [0, 1], reportOnly: true }]);
    const json = JSON.parse((await run('verify', '--json')).out) as { partitions: { partition: number }[]; totals: object };
    expect(json.partitions.map(({ partition }) => partition)).toEqual([0, 1]);
    expect(json.totals).toMatchObject({ partitions: 2, equal: 127, [name.toLowerCase()]: 1, bytes: 2048 });
  });

  it('what could not be compared is a failure and tells why', async () => {
    reports = [{ ...equal, replicas: [], problem: 'NOT_LEADER: it moved' }];
    expect(await run('verify')).toMatchObject({ code: 1, err: expect.stringContaining('default/1: not compared: NOT_LEADER: it moved') });
  });

  it('sync passes on what is asked for', async () => {
    reports = [equal];
    expect((await run('sync', '--keyspace', 'default', '--node', 'b', '--everything', '--trust-leader')).code).toBe(0);
    expect(asked).toEqual([{ keyspace: 'default', partitions: [], node: 'b', everything: true, trustLeader: true }]);
  });

  it('bad usage and failures of the coordinator have their exit codes', async () => {
    expect((await run('verify', '--partition', '0')).code).toBe(2);
    expect((await run('verify', '--keyspace', 'default', '--partition', '9999')).code).toBe(2);
    failure = new AtollError('KEYSPACE_NOT_FOUND', 'there is no keyspace x');
    expect((await run('verify', '--keyspace', 'x')).code).toBe(1);
  });
});
