// Backup.GetRepository before a bucket of a real S3-compatible server; left out where there is none.
import { describeWithS3, startS3Server, type TestS3Server } from '@atoll/platform-repository/testing';
import { parseConfig } from '../config.ts';
import { SharedProbe } from './shared-probe.ts';

describeWithS3()('a repository in a bucket', () => {
  let server: TestS3Server;
  const { s3 } = parseConfig({});
  const probe = (bucket: string, { secret, timeoutMs = 10_000 }: { readonly secret?: string; readonly timeoutMs?: number } = {}) => {
    const { endpoint, credentials } = server.options;
    const { accessKeyId, secretAccessKey } = credentials!;
    return new SharedProbe({ location: { kind: 'bucket', bucket, prefix: 'p' }, s3: { ...s3, endpoint, credentials: { accessKeyId, secretAccessKey: secret ?? secretAccessKey } }, timeoutMs }).run();
  };
  beforeAll(async () => {
    server = await startS3Server();
  });
  afterAll(async () => server.stop());

  it('can be written; one that is not there, to which one has no right, or whose server is not there, cannot, and the probe names the setting', async () => {
    expect(await probe(server.options.bucket)).toMatchObject({ isWritable: true, problem: '', bytesFree: 0 });
    expect(await probe('no-such-bucket')).toMatchObject({ isWritable: false, problem: expect.stringMatching(/^s3:\/\/no-such-bucket\/p: .*BACKUP_REPOSITORY/) });
    expect(await probe(server.options.bucket, { secret: 'wrong' })).toMatchObject({ isWritable: false, problem: expect.stringContaining('AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY') });
    await server.kill();
    expect(await probe(server.options.bucket)).toMatchObject({ isWritable: false, problem: expect.stringMatching(/ECONNREFUSED.*BACKUP_S3_ENDPOINT/) });
  });
});
