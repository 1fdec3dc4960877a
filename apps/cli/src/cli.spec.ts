import { Server, ServerCredentials } from '@grpc/grpc-js';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { AdminService, Keyspace, Partition, type AdminServer } from '@atoll/contracts/atoll/v1/admin';
import { AtollError } from '@atoll/core-errors';
import { toServiceError } from '@atoll/platform-grpc';
import type { Command } from 'commander';
import { createProgram, runCli } from './cli.ts';
import { identityOf } from './dev/process-identity.ts';
import { planStorageNodes } from './dev/layout.ts';
import { STATE_FORMAT, writeState } from './dev/state-file.ts';
import type { ExitCode } from './exit-code.ts';

describe('atoll', () => {
  let cwd = '';
  const servers: Server[] = [];

  beforeEach(() => {
    cwd = mkdtempSync(join(tmpdir(), 'atoll-cli-'));
  });
  afterEach(() => {
    for (const server of servers.splice(0)) server.forceShutdown();
    rmSync(cwd, { recursive: true, force: true });
  });

  async function run(args: readonly string[], env: Record<string, string> = {}): Promise<{ code: ExitCode; out: string; err: string }> {
    const texts = { out: '', err: '' };
    const collect = (name: 'out' | 'err'): Writable =>
      new Writable({
        write(chunk: Buffer, _encoding, done) {
          texts[name] += chunk.toString('utf8');
          done();
        },
      });
    const code = await runCli(args, { stdin: Readable.from([]), stdout: collect('out'), stderr: collect('err'), env, cwd });
    return { code, ...texts };
  }

  /** A gRPC server with a part of the Admin service; answers its address. */
  async function serveAdmin(methods: Partial<AdminServer>): Promise<string> {
    const server = new Server();
    servers.push(server);
    server.addService(AdminService, methods as AdminServer);
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error)));
    });
    return `127.0.0.1:${port}`;
  }

  it('tells what it can do', async () => {
    const { code, out } = await run(['--help']);
    expect(code).toBe(0);
    for (const name of ['dev', 'get', 'set', 'del', 'scan', 'watch', 'incr', 'touch', 'cluster', 'nodes', 'partitions', 'ring', 'keyspace', 'events', 'backup', 'Exit codes']) expect(out).toContain(name);
  });

  it.each([
    [['no-such-command'], 'unknown command'],
    [['watch', '--limit', '1', '--resume', 'file'], "option '--limit <count>' cannot be used with option '--resume <file>'"],
    [['watch', '--partition', '-1'], 'It must be a whole number, 0 to 4095'],
    [['get'], "missing required argument 'key'"],
    [['get', 'k', '--consistency', 'SOON'], 'Allowed choices are STRONG, BOUNDED, EVENTUAL'],
    [['get', 'k', '--timeout', 'soon'], 'It must be a time such as 250ms'],
    [['get', 'k', '--router', 'localhost'], 'It must be host:port'],
    [['get', 'k', '--data-dir', 'nowhere'], 'no local cluster was started in'],
    [['set', 'k'], 'give either a value or --file'],
    [['set', 'k', 'v', '--file', 'x'], 'give either a value or --file'],
    [['set', 'k', '--file', 'missing'], '--file: ENOENT'],
    [['set', 'k', 'v', '--if-absent', '--if-present'], 'cannot be used with'],
    [['set', 'k', 'v', '--if-version', 'xyz'], 'It must be a version'],
    [['incr', 'k', 'one'], 'It must be a whole number'],
    [['keyspace', 'update', 'default'], 'nothing to change'],
    [['keyspace', 'delete', 'x'], "required option '--yes'"],
    [['dev', 'up', '--nodes', '0'], 'It must be a whole number, 1 to 60'],
    [['dev', 'up', '--base-port', '65000'], 'It must be a whole number, 0 to 64435'],
    [['dev', 'up', '--memory', '1MB'], 'It must be a number of bytes'],
    [['dev', 'up', '--durability', 'MAYBE'], 'Allowed choices are NONE, ASYNC, SYNC'],
    [['dev', 'up', '--zones', 'a,,b'], 'It must be names'],
    [['dev', 'kill', 'node-1', '--signal', 'SIGNOTHING'], 'It must be a signal'],
  ])('refuses %j with exit code 2', async (args, message) => {
    const { code, err, out } = await run(args);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(message);
    expect(err).not.toContain('    at ');
  });

  it('names the variable with a wrong address', async () => {
    expect(await run(['get', 'k'], { ATOLL_ROUTER: 'nonsense' })).toMatchObject({ code: 2, err: 'atoll: ATOLL_ROUTER must be host:port, got "nonsense"\n' });
  });

  it('ends with 3 when nobody answers', async () => {
    const answer = await run(['cluster', '--coordinator', '127.0.0.1:1', '--timeout', '2s']);
    expect(answer).toMatchObject({ code: 3, out: '', err: 'atoll: no coordinator answers at 127.0.0.1:1\n' });
  });

  it('follows the address of the elected coordinator', async () => {
    const elected = await serveAdmin({
      listPartitions: (_call, reply) => {
        const partition = Partition.fromPartial({ id: 0, keyspace: 'default', epoch: 3, leader: 'node-1', inSync: ['node-1', 'node-2'], state: 'ACTIVE', tokenEnd: 0xffff_ffff_ffff_ffffn });
        reply(null, { partitions: [partition] });
      },
    });
    const other = await serveAdmin({
      listPartitions: (_call, reply) => reply(toServiceError(new AtollError('NOT_COORDINATOR', 'ask the other', { metadata: { coordinator: 'c', address: elected } }))),
    });
    const table = await run(['partitions', '--coordinator', other]);
    expect(table).toMatchObject({ code: 0, err: '' });
    expect(table.out.split('\n')[1]).toBe('default           0      3  ACTIVE  node-1  node-1,node-2            0000000000000000');
    const json = await run(['partitions', '--json'], { ATOLL_COORDINATOR: `127.0.0.1:1,${other}` });
    expect(JSON.parse(json.out)).toMatchObject({ partitions: [{ id: 0, epoch: 3, leader: 'node-1', inSync: ['node-1', 'node-2'], learners: [], tokenStart: '0', tokenEnd: '18446744073709551615' }] });
  });

  it('gives up when coordinators point at each other', async () => {
    const pointAt = (address: () => string): Partial<AdminServer> => ({
      getCluster: (_call, reply) => reply(toServiceError(new AtollError('NOT_COORDINATOR', 'not me', { metadata: { address: address() } }))),
    });
    let second = '';
    const first = await serveAdmin(pointAt(() => second));
    second = await serveAdmin(pointAt(() => first));
    expect(await run(['cluster', '--coordinator', first])).toMatchObject({ code: 1, err: expect.stringContaining('NOT_COORDINATOR: not me') });
  });

  it('sends the settings of a keyspace, and shows the field at fault', async () => {
    const seen: unknown[] = [];
    const coordinator = await serveAdmin({
      createKeyspace: (call, reply) => {
        seen.push(call.request.keyspace);
        reply(null, { keyspace: call.request.keyspace });
      },
      updateKeyspace: (call, reply) => {
        seen.push(call.request.fields);
        reply(toServiceError(new AtollError('INVALID_ARGUMENT', 'min_in_sync: must be at most 2', { metadata: { field: 'min_in_sync' } })));
      },
    });
    const created = await run(['keyspace', 'create', 's', '--partitions', '128', '--durability', 'SYNC', '--ttl', '10m', '--value-bytes-max', '1MiB', '--json', '--coordinator', coordinator]);
    expect(JSON.parse(created.out)).toMatchObject({ name: 's', partitionCount: 128, durability: 'SYNC', defaultTtlMs: 600_000, valueBytesMax: 1_048_576 });
    expect(seen[0]).toEqual(Keyspace.fromPartial({ name: 's', partitionCount: 128, durability: 3, defaultTtlMs: 600_000, valueBytesMax: 1_048_576 }));
    const updated = await run(['keyspace', 'update', 's', '--min-in-sync', '7', '--ack', 'LEADER', '--coordinator', coordinator]);
    expect(seen[1]).toEqual(['min_in_sync', 'ack']);
    expect(updated).toEqual({ code: 2, out: '', err: 'atoll: INVALID_ARGUMENT: min_in_sync: must be at most 2 (field: min_in_sync)\n' });
  });

  describe('dev without a cluster', () => {
    it.each([[['status']], [['kill', 'node-1']], [['add-node']]])('%j says how to start one, with exit code 3', async (args) => {
      expect(await run(['dev', ...args])).toMatchObject({ code: 3, err: expect.stringContaining('start one with: atoll dev up --data-dir .atoll') });
    });

    it('down is done when nothing runs', async () => {
      expect(await run(['dev', 'down'])).toMatchObject({ code: 0, err: `no cluster was started in ${join(cwd, '.atoll')}\n` });
    });

    it('refuses a state file of somebody else and deletes nothing', async () => {
      writeFileSync(join(cwd, 'cluster.json'), '{"format": 99}');
      expect(await run(['dev', 'down', '--delete-data', '--data-dir', '.'])).toMatchObject({ code: 2, err: expect.stringContaining('is not a state file of this version') });
    });

    it('finds the addresses of a local cluster in its directory', async () => {
      const coordinator = await serveAdmin({ listNodes: (_call, reply) => reply(null, { nodes: [] }) });
      const layout = { basePort: Number(coordinator.split(':')[1]) - 20, routers: 1, coordinators: 1, backups: 1, storageNodes: planStorageNodes(1), restart: 'no', logLevel: undefined } as const;
      writeState(join(cwd, 'c'), {
        format: STATE_FORMAT,
        supervisor: identityOf(process.pid),
        socket: join(cwd, 'none.sock'),
        layout: { ...layout, memoryBytes: undefined, durability: undefined, replicationFactor: undefined },
        processes: [],
      });
      expect(await run(['nodes', '--data-dir', 'c', '--json'])).toEqual({ code: 0, out: '{\n  "nodes": []\n}\n', err: '' });
      expect(await run(['dev', 'status', '--data-dir', 'c'])).toMatchObject({ code: 3, err: expect.stringContaining('the supervisor does not answer') });
    });
  });
});

describe('the documents', () => {
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  const documents = globSync(['README.md', 'docs/operating/**/*.md', 'infra/**/*.md', 'apps/*/README.md'], { cwd: root });
  const program = createProgram({ stdin: Readable.from([]), stdout: new Writable(), stderr: new Writable(), env: {}, cwd: root }, () => undefined);

  /** Behind `atoll` in a block of code or in code within a line. */
  function commandLines(file: string): string[] {
    const text = readFileSync(join(root, file), 'utf8');
    // In a list a block is as far to the right as its text.
    const [...blocks] = text.matchAll(/^ *```\n([\s\S]*?)^ *```$/gm);
    const inText = [...text.replace(/^ *```\n[\s\S]*?^ *```$/gm, '').matchAll(/`atoll ([a-z][^`\n]*)`/g)];
    const inBlocks = blocks.flatMap(([, block = '']) => [...block.matchAll(/(?:^ *\$ |^| {2}|\$\(|&& |do |until |while |run -s )atoll (?:-- )?([a-z][^\n;&)<]*)/gm)]);
    return [...inText, ...inBlocks].map(([, line = '']) => line.replace(/\s{2,}.*|#.*| \| .*/, ''));
  }

  /** A word where a command should stand, or an option that the command has not; `pause|resume` are two commands. */
  function unknownIn(line: string): string[] {
    let commands: readonly Command[] = [program];
    for (const word of line.split(/\s+/)) {
      const children = commands.flatMap((command) => command.commands);
      if (children.length === 0 || !/^[a-z][a-z|-]*$/.test(word)) break;
      const found = word.split('|').map((name) => children.filter((child) => child.name() === name));
      if (found.some((each) => each.length === 0)) return [word];
      commands = found.flat();
    }
    const options = Array.from(line.matchAll(/(?<=^|[\s[|])--[a-z][a-z-]*/g), ([option]) => option);
    return options.filter((option) => option !== '--help' && !commands.some((command) => command.options.some(({ long }) => long === option)));
  }

  it.each(documents)('%s names only commands and options that are there', (file) => {
    const unknown = commandLines(file).flatMap((line) => unknownIn(line).map((word) => `${word} in: atoll ${line}`));
    expect(unknown).toEqual([]);
  });

  it('name enough of them', () => {
    expect(documents.flatMap(commandLines).length).toBeGreaterThan(100);
  });
});
