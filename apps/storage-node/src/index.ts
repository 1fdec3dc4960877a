export { STORAGE_NODE_SETTINGS, readConfig } from './config.ts';
export type { Config } from './config.ts';
export { startStorageNode } from './storage-node.ts';
export type { StorageNode, StorageNodeOptions } from './storage-node.ts';
