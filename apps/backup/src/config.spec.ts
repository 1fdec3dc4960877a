import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { settingsTable } from '@atoll/platform-config';
import { SETTINGS, parseConfig } from './config.ts';

describe('BACKUP_REPOSITORY', () => {
  it.each([
    ['file:///var/lib/atoll', '/var/lib/atoll'],
    ['/var/lib/atoll', '/var/lib/atoll'],
    ['archives', join(process.cwd(), 'archives')],
  ])('%s is the directory %s', (text, path) => {
    expect(parseConfig({ BACKUP_REPOSITORY: text }).repository).toEqual({ kind: 'directory', path });
  });

  it.each([
    ['s3://my-bucket', ''],
    ['s3://my-bucket/', ''],
    ['s3://my-bucket/some/where/', 'some/where'],
  ])('%s is a bucket', (text, prefix) => {
    expect(parseConfig({ BACKUP_REPOSITORY: text, BACKUP_S3_ENDPOINT: 'http://127.0.0.1:9000' })).toMatchObject({ repository: { kind: 'bucket', bucket: 'my-bucket', prefix }, s3: { endpoint: 'http://127.0.0.1:9000', region: 'us-east-1' } });
  });

  it.each(['s3://Bucket/path', 's3://bucket/../x', 'file://host/path', 'https://example.com'])('%s is refused', (text) => {
    expect(() => parseConfig({ BACKUP_REPOSITORY: text })).toThrow(/BACKUP_REPOSITORY must be path of a directory/);
  });
});

it('the settings stand in the README as they are', () => {
  expect(readFileSync(new URL('../README.md', import.meta.url), 'utf8')).toContain(settingsTable(SETTINGS));
});
