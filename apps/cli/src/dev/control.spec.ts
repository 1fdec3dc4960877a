import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { usageError } from '../cli-error.ts';
import { askSupervisor, serveControl, type ControlRequest } from './control.ts';
import { readState, socketPath, statePath, writeState, type ClusterState } from './state-file.ts';
import { planStorageNodes } from './layout.ts';
import { lockDataDir } from './supervisor-lock.ts';

describe('control of a supervisor', () => {
  let dir = '';
  let server: Server | undefined;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'atoll-control-'));
  });
  afterEach(() => {
    server?.close();
    server = undefined;
    rmSync(dir, { recursive: true, force: true });
  });

  it('carries requests, results and failures with their exit code', async () => {
    const seen: ControlRequest[] = [];
    const path = socketPath(dir);
    server = await serveControl(path, async (request) => {
      seen.push(request);
      if (request.command === 'kill') throw usageError('there is no node-9');
      return { id: request.id, text: 'ü'.repeat(100_000) };
    });
    expect(await askSupervisor(path, { command: 'stop', id: 'node-1' }, 5_000)).toEqual({ id: 'node-1', text: 'ü'.repeat(100_000) });
    await expect(askSupervisor(path, { command: 'kill', id: 'node-9', signal: 'SIGTERM' }, 5_000)).rejects.toMatchObject({ message: 'there is no node-9', exitCode: 2 });
    await expect(askSupervisor(path, { command: 'reboot' as 'stop' }, 5_000)).rejects.toThrow('unknown request');
    expect(seen).toEqual([{ command: 'stop', id: 'node-1' }, { command: 'kill', id: 'node-9', signal: 'SIGTERM' }]);
  });

  it('replaces the socket of a dead supervisor', async () => {
    const path = socketPath(dir);
    writeFileSync(path, '');
    server = await serveControl(path, async () => 'here');
    expect(await askSupervisor(path, { command: 'status' }, 5_000)).toBe('here');
  });

  it.each([
    ['is not there', () => undefined],
    ['closes without an answer', (path: string) => createServer((socket) => socket.destroy()).listen(path)],
    ['is silent', (path: string) => createServer(() => undefined).listen(path)],
  ])('says that the supervisor does not answer when it %s', async (_case, listen) => {
    const path = socketPath(dir);
    server = listen(path);
    await expect(askSupervisor(path, { command: 'status' }, 200)).rejects.toMatchObject({ exitCode: 3, message: expect.stringContaining('the supervisor does not answer') });
  });

  it('keeps the path of the socket short enough for the system', () => {
    expect(socketPath('/data')).toBe('/data/control.sock');
    const deep = `/${'d'.repeat(120)}`;
    expect(Buffer.byteLength(socketPath(deep))).toBeLessThanOrEqual(103);
    expect(socketPath(deep)).toBe(socketPath(deep));
    expect(socketPath(deep)).not.toBe(socketPath(`${deep}e`));
  });

  it('keeps the state file whole, and knows a foreign one', () => {
    expect(readState(dir)).toBeUndefined();
    const state: ClusterState = {
      format: 1,
      supervisor: { pid: 1, startedAt: 'x' },
      socket: 's',
      layout: { basePort: 7400, routers: 1, coordinators: 1, backups: 1, storageNodes: planStorageNodes(2), memoryBytes: undefined, durability: 'SYNC', replicationFactor: undefined, restart: 'no', logLevel: undefined },
      processes: [{ id: 'etcd', pid: 2, startedAt: 'y' }],
    };
    writeState(dir, state);
    expect(readState(dir)).toEqual(JSON.parse(JSON.stringify(state)));
    for (const text of ['', 'null', '{"format": 2, "processes": []}', '{"format": 1']) {
      writeFileSync(statePath(dir), text);
      expect(() => readState(dir)).toThrow('is not a state file of this version of atoll');
    }
  });

  it('lets one supervisor have a data directory, and takes over from a dead one', () => {
    const lock = lockDataDir(dir);
    expect(() => lockDataDir(dir)).toThrow(`a cluster is running in ${dir} already (supervisor pid ${process.pid})`);
    lock.release();
    for (const text of ['', JSON.stringify({ pid: process.pid, startedAt: 'before' })]) {
      writeFileSync(join(dir, 'supervisor.lock'), text);
      lockDataDir(dir).release();
    }
    expect(existsSync(join(dir, 'supervisor.lock'))).toBe(false);
  });
});
