export { loadArchiveKeys } from './codec/load-archive-keys.ts';
export type { ArchiveKeySources } from './codec/load-archive-keys.ts';
export { nodeArchiveCodec } from './codec/node-archive-codec.ts';
export type { ObjectStore, StoredObject } from './object-store.ts';
export { openFileObjectStore } from './stores/file-object-store.ts';
export { openS3ObjectStore } from './stores/s3-object-store.ts';
export type { S3Options } from './stores/s3-object-store.ts';
