import { Server, ServerCredentials, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { Readable, Writable } from 'node:stream';
import { AdminService, GetClusterResponse, RecoverMetadataResponse, type RecoverMetadataRequest } from '@atoll/contracts/atoll/v1/admin';
import { AtollError } from '@atoll/core-errors';
import { toServiceError } from '@atoll/platform-grpc';
import { runCli } from '../cli.ts';

const PLAN = RecoverMetadataResponse.create({
  regressed: ["etcd's revision went back from 900 to 700"],
  asked: ['node-1', 'node-2'],
  keyspaces: [{ name: 'default', outcome: 'KEPT' }, { name: 'made', outcome: 'RESTORED' }],
  partitions: [{ keyspace: 'made', partition: 3, epochBefore: 0, epoch: 8, generation: 1, leader: 'node-1', inSync: ['node-1', 'node-2'], source: 'node-1' }],
  revision: 700,
  revisionSeen: 900,
});

describe('atoll cluster recover-metadata (R13)', () => {
  let server: Server;
  let coordinator: string;
  let answer: RecoverMetadataResponse = PLAN;
  let failure: AtollError | undefined;
  const asked: RecoverMetadataRequest[] = [];

  beforeAll(async () => {
    server = new Server();
    const recoverMetadata = (call: ServerUnaryCall<RecoverMetadataRequest, RecoverMetadataResponse>, callback: sendUnaryData<RecoverMetadataResponse>): void => {
      asked.push(call.request);
      if (failure === undefined) callback(null, { ...answer, executed: call.request.execute && (answer.risks.length === 0 || call.request.acceptRisks) });
      else callback(toServiceError(failure));
    };
    const getCluster = (_call: unknown, callback: sendUnaryData<GetClusterResponse>): void => callback(null, GetClusterResponse.create({ clusterId: 'k', metadataRegressed: PLAN.regressed }));
    server.addService(AdminService, { recoverMetadata, getCluster });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error)));
    });
    coordinator = `127.0.0.1:${port}`;
  });

  beforeEach(() => {
    answer = PLAN;
    failure = undefined;
    asked.length = 0;
  });

  afterAll(() => server.forceShutdown());

  async function run(...args: string[]) {
    const texts = { out: '', err: '' };
    const collect = (name: 'out' | 'err'): Writable =>
      new Writable({
        write(chunk: Buffer, _encoding, done) {
          texts[name] += chunk.toString('utf8');
          done();
        },
      });
    const code = await runCli([...args, '--coordinator', coordinator], { stdin: Readable.from([]), stdout: collect('out'), stderr: collect('err'), env: {}, cwd: '/' });
    return { code, ...texts };
  }

  it('shows what would be written, and writes nothing', async () => {
    const { code, out, err } = await run('cluster', 'recover-metadata');
    expect(code).toBe(0);
    expect(asked).toEqual([{ execute: false, acceptRisks: false }]);
    expect(out).toContain("went back      etcd's revision went back from 900 to 700");
    expect(out).toContain('keyspace       made: etcd has lost it; it is written again');
    expect(out).toMatch(/made +3 +1 +- +8 +node-1 +node-1,node-2 +node-1/);
    expect(err).toContain('Nothing was written. Repeat with --yes.');
  });

  it('--yes writes it', async () => {
    const { code, out } = await run('cluster', 'recover-metadata', '--yes');
    expect(code).toBe(0);
    expect(asked).toEqual([{ execute: true, acceptRisks: false }]);
    expect(out).toContain('changes are possible again');
  });

  it('what may be lost is shown, and needs --force', async () => {
    answer = { ...PLAN, unreachable: ['node-3'], risks: ['made/3: node-3 did not answer'] };
    const refused = await run('cluster', 'recover-metadata', '--yes');
    expect(refused).toMatchObject({ code: 1, out: expect.stringContaining('may be lost    made/3: node-3 did not answer'), err: expect.stringContaining('--yes --force') });
    expect((await run('cluster', 'recover-metadata', '--yes', '--force')).code).toBe(0);
    expect(asked.at(-1)).toEqual({ execute: true, acceptRisks: true });
    expect((await run('cluster', 'recover-metadata', '--force')).code).toBe(2);
  });

  it('programs get all of it', async () => {
    expect(JSON.parse((await run('cluster', 'recover-metadata', '--json')).out)).toMatchObject({ executed: false, asked: ['node-1', 'node-2'], revisionSeen: 900, partitions: [{ epoch: 8 }] });
  });

  it('refuses where there is nothing to recover', async () => {
    failure = new AtollError('NOTHING_TO_RECOVER', 'etcd shows everything that was seen');
    expect(await run('cluster', 'recover-metadata', '--yes')).toMatchObject({ code: 1, err: expect.stringContaining('NOTHING_TO_RECOVER') });
  });

  it('atoll cluster says that etcd went back, and what to run', async () => {
    const { code, out } = await run('cluster');
    expect(code).toBe(0);
    expect(out).toContain("etcd went back      etcd's revision went back from 900 to 700");
    expect(out).toContain('atoll cluster recover-metadata');
  });
});
