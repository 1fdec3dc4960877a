export { InMemoryObjectStore, InMemoryObjects } from './in-memory-object-store.ts';
export { objectStoreContract } from './object-store-contract.ts';
export { describeWithS3, startS3Server } from './start-s3-server.ts';
export type { TestS3Server } from './start-s3-server.ts';
export { writeArchive } from './write-archive.ts';
export type { WriteArchiveOptions, WrittenEntry, WrittenKeyspace } from './write-archive.ts';
