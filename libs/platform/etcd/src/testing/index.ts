export { eventually } from './eventually.ts';
export { InMemoryEtcd } from './in-memory-etcd.ts';
export type { InMemoryBackup } from './in-memory-etcd.ts';
export { InMemoryMetadataStore } from './in-memory-metadata-store.ts';
export { metadataStoreContract } from './metadata-store-contract.ts';
export type { ContractSubject } from './metadata-store-contract.ts';
export { startEtcd, startEtcdCluster } from './start-etcd.ts';
export type { TestEtcd } from './start-etcd.ts';
