import { connectEtcd } from './etcd-metadata-store.ts';
import { InMemoryMetadataStore, metadataStoreContract, startEtcd } from './testing/index.ts';

metadataStoreContract('InMemoryMetadataStore', async () => {
  const store = new InMemoryMetadataStore();
  const other = new InMemoryMetadataStore({ etcd: store.etcd });
  return { store, other, close: async () => void (await Promise.all([store.close(), other.close()])) };
});

metadataStoreContract('EtcdMetadataStore', async () => {
  const etcd = await startEtcd();
  const store = connectEtcd({ endpoints: [etcd.client] });
  const other = connectEtcd({ endpoints: [etcd.client] });
  return {
    store,
    other,
    close: async () => {
      await Promise.all([store.close(), other.close()]);
      await etcd.stop();
    },
  };
});
