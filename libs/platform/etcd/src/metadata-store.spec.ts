import { InMemoryMetadataStore, metadataStoreContract } from './testing/index.ts';

metadataStoreContract('InMemoryMetadataStore', async () => {
  const store = new InMemoryMetadataStore();
  const other = new InMemoryMetadataStore({ etcd: store.etcd });
  return { store, other, close: async () => void (await Promise.all([store.close(), other.close()])) };
});
