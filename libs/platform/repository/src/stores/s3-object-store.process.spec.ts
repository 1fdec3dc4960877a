// On a real S3-compatible server, a process of its own. Without one the specs are left out, and say why.
import { spawnSync } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { MIB } from '@atoll/core-runtime';
import { listAll, objectStoreContract } from '../testing/object-store-contract.ts';
import { describeWithS3, startS3Server, type TestS3Server } from '../testing/start-s3-server.ts';
import { openS3ObjectStore } from './s3-object-store.ts';

const describeOnServer = describeWithS3();

objectStoreContract('S3ObjectStore', async () => {
  const server = await startS3Server();
  const options = { ...server.options, prefix: 'some/where' };
  const store = await openS3ObjectStore(options);
  const other = await openS3ObjectStore({ ...options, partBytes: 5 * MIB });
  return {
    store,
    other,
    close: async () => {
      await Promise.all([store.close(), other.close()]);
      await server.stop();
    },
  };
}, describeOnServer);

describeOnServer('S3ObjectStore on a server', () => {
  let server: TestS3Server;
  beforeAll(async () => {
    server = await startS3Server();
  });
  afterAll(async () => server.stop());

  it('keeps to its prefix', async () => {
    const here = await openS3ObjectStore({ ...server.options, prefix: 'here' });
    const all = await openS3ObjectStore(server.options);
    await here.put('k', Buffer.from('v'));
    await all.put('hereafter/k', Buffer.from('v'));
    expect((await listAll(here)).map(({ key }) => key)).toEqual(['k']);
    expect((await all.get('here/k'))?.toString()).toBe('v');
    await Promise.all([here.close(), all.close()]);
  });

  it('lists more than a page', async () => {
    const store = await openS3ObjectStore({ ...server.options, prefix: 'pages' });
    const count = 1100;
    for (let first = 0; first < count; first += 50) {
      await Promise.all(Array.from({ length: 50 }, (_, index) => store.put(String(first + index).padStart(4, '0'), Buffer.of(1))));
    }
    const keys = (await listAll(store)).map(({ key }) => key);
    expect([keys.length, keys[0], keys.at(-1)]).toEqual([count, '0000', '1099']);
    await store.close();
  });

  it('waits for a server that comes back, and tells of one that does not', async () => {
    const store = await openS3ObjectStore({ ...server.options, prefix: 'outage', attemptsMax: 8 });
    const impatient = await openS3ObjectStore({ ...server.options, prefix: 'outage', attemptsMax: 2 });
    const body = randomBytes(12 * MIB);
    await server.kill();
    await expect(impatient.put('k', body)).rejects.toMatchObject({ reason: 'REPOSITORY_UNAVAILABLE', metadata: { location: 's3://atoll-test/outage' } });
    const put = store.put('k', body);
    await sleep(300); // Somewhere in its attempts; it has to come through wherever that is.
    await server.restart();
    await put;
    expect((await impatient.get('k'))?.equals(body)).toBe(true);
    await Promise.all([store.close(), impatient.close()]);
  });

  it('a bucket that is not there and credentials that are wrong are told as what they are', async () => {
    const lost = await openS3ObjectStore({ ...server.options, bucket: 'no-such-bucket', attemptsMax: 1 });
    await expect(lost.get('k')).rejects.toMatchObject({ reason: 'REPOSITORY_UNAVAILABLE', message: expect.stringMatching(/; the bucket has to be there: the bucket, and the server in the endpoint$/), metadata: { code: 'NoSuchBucket' } });
    const stranger = await openS3ObjectStore({ ...server.options, credentials: { accessKeyId: 'atoll-test', secretAccessKey: 'wrong' }, attemptsMax: 1 });
    await expect(stranger.put('k', Buffer.of(1))).rejects.toMatchObject({ reason: 'REPOSITORY_READ_ONLY', message: expect.stringContaining('AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY'), metadata: { code: 'SignatureDoesNotMatch' } });
    // HEAD has no body that would say why.
    await expect(stranger.stat('k')).rejects.toMatchObject({ reason: 'REPOSITORY_UNAVAILABLE', message: expect.stringMatching(/: k: it answered 403; .*AWS_ACCESS_KEY_ID/) });
    await Promise.all([lost.close(), stranger.close()]);
  });
});

it('the AWS SDK is loaded by who opens a bucket, and by nobody else', () => {
  const program = `
    const { createRequire } = await import('node:module');
    const loaded = () => Object.keys(createRequire(process.argv[1]).cache).some((path) => path.includes('@aws-sdk'));
    const { openObjectStore } = await import(process.argv[1]);
    const before = loaded();
    const store = await openObjectStore({ kind: 'bucket', bucket: 'bucket', prefix: '' });
    await store.close();
    console.log(before, loaded());
  `;
  const args = ['--input-type=module', '-e', program, new URL('../index.ts', import.meta.url).href];
  expect(spawnSync(process.execPath, args, { encoding: 'utf8' }).stdout.trim()).toBe('false true');
});

describe('S3ObjectStore before a server that misbehaves', () => {
  /** The protocol's answers by hand: what a real server cannot be brought to do on demand. */
  async function misbehaving(answer: (attempt: number, respond: { status: (code: number, name?: string) => void; bodyOf: (content: string, announced: number) => void }) => void): Promise<{ server: Server; endpoint: string }> {
    let attempt = 0;
    const server = createServer((request, response) => {
      request.resume().on('end', () => {
        attempt += 1;
        answer(attempt, {
          status: (code, name) => void response.writeHead(code, { 'content-type': 'application/xml' }).end(name === undefined ? '' : `<Error><Code>${name}</Code><Message>${name} it is</Message></Error>`),
          bodyOf: (content, announced) => {
            response.writeHead(200, { 'content-length': announced });
            response.write(content);
            if (content.length === announced) response.end();
            else setImmediate(() => response.destroy());
          },
        });
      });
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    return { server, endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
  }

  async function withAnswers<T>(answer: Parameters<typeof misbehaving>[0], use: (store: Awaited<ReturnType<typeof openS3ObjectStore>>) => Promise<T>, attemptsMax = 3): Promise<T> {
    const { server, endpoint } = await misbehaving(answer);
    const store = await openS3ObjectStore({ bucket: 'b', endpoint, credentials: { accessKeyId: 'a', secretAccessKey: 's' }, attemptsMax });
    try {
      return await use(store);
    } finally {
      await store.close();
      server.closeAllConnections();
      server.close();
    }
  }

  it('repeats what was answered with 503, with pauses', async () => {
    let asked = 0;
    await withAnswers((attempt, { status }) => ((asked = attempt), attempt < 3 ? status(503, 'SlowDown') : status(200)), (store) => store.put('k', Buffer.of(1)));
    expect(asked).toBe(3);
  });

  it('repeats a read whose answer breaks off', async () => {
    const body = await withAnswers((attempt, { bodyOf }) => bodyOf(attempt === 1 ? 'hal' : 'whole', 5), (store) => store.get('k'));
    expect(body?.toString()).toBe('whole');
  });

  it.each([
    [507, 'InsufficientStorage', 'REPOSITORY_FULL'],
    [400, 'XMinioStorageFull', 'REPOSITORY_FULL'],
    [403, 'AccessDenied', 'REPOSITORY_READ_ONLY'],
    [500, 'InternalError', 'REPOSITORY_UNAVAILABLE'],
  ])('a put answered with %s %s is %s', async (code, name, reason) => {
    await withAnswers((_, { status }) => status(code, name), async (store) => {
      await expect(store.put('k', Buffer.of(1))).rejects.toMatchObject({ reason, metadata: { code: name } });
    }, 1);
  });

  it('creates on a server that knows no conditions by a look before', async () => {
    // 501, a read that finds nothing, a put.
    const answers = [501, 404, 200];
    const created = await withAnswers((attempt, { status }) => status(answers[attempt - 1]!, answers[attempt - 1] === 200 ? undefined : 'NoSuchKey'), (store) => store.create('k', Buffer.of(1)), 1);
    expect(created).toBe(true);
  });
});
