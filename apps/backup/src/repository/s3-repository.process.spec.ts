// Backup.GetRepository before a bucket of a real S3-compatible server; left out where there is none.
import { describeWithS3, startS3Server, type TestS3Server } from '@atoll/platform-repository/testing';
import { SharedProbe } from './shared-probe.ts';

describeWithS3()('a repository in a bucket', () => {
  let server: TestS3Server;
  const probe = (bucket: string, timeoutMs = 10_000) => {
    const { endpoint, credentials } = server.options;
    return new SharedProbe({ location: { kind: 'bucket', bucket, prefix: 'p' }, s3: { endpoint, credentials }, timeoutMs }).run();
  };
  beforeAll(async () => {
    server = await startS3Server();
  });
  afterAll(async () => server.stop());

  it('can be written; one that is not there, or whose server is not, cannot, and the probe says why', async () => {
    expect(await probe(server.options.bucket)).toMatchObject({ isWritable: true, problem: '', bytesFree: 0 });
    expect(await probe('no-such-bucket')).toMatchObject({ isWritable: false, problem: expect.stringContaining('s3://no-such-bucket/p') });
    await server.kill();
    expect(await probe(server.options.bucket)).toMatchObject({ isWritable: false, problem: expect.stringContaining('ECONNREFUSED') });
  });
});
