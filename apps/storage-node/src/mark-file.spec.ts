import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger } from '@atoll/platform-telemetry';
import { MarkFile } from './mark-file.ts';

describe('MarkFile (R13)', () => {
  const logger = createLogger({ service: 'storage-node', instanceId: 'a', level: 'silent', format: 'json' });
  let directory: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'atoll-mark-'));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  it('a node that starts again knows what it saw', async () => {
    const first = await MarkFile.open(join(directory, 'node'), logger);
    expect(first.seen).toBeUndefined();
    first.follow(() => ({ clusterId: 'k', mark: { revision: 12, changeRevision: 9 } }));
    await first.close();
    const second = await MarkFile.open(join(directory, 'node'), logger);
    expect(second.seen).toEqual({ clusterId: 'k', mark: { revision: 12, changeRevision: 9 } });
    await second.close();
  });

  it.each(['', '{"clusterId":"k","mark":{"revision":-1,"changeRevision":2}}', '{"clusterId":"k"}', 'null', '[]'])('a file that says %p counts as none', async (text) => {
    await writeFile(join(directory, 'metadata-mark.json'), text);
    expect((await MarkFile.open(directory, logger)).seen).toBeUndefined();
  });

  it('nothing is written while nothing is new', async () => {
    const file = await MarkFile.open(directory, logger);
    file.follow(() => undefined);
    await file.close();
    await expect(readFile(join(directory, 'metadata-mark.json'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
