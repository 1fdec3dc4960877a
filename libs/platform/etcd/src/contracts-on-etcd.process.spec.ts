import { connectEtcd } from './etcd-metadata-store.ts';
import { clientLocksContract } from './testing/client-locks-contract.ts';
import { heldLockContract } from './testing/held-lock-contract.ts';
import { metadataStoreContract, startEtcd } from './testing/index.ts';
import type { ContractSubject } from './testing/metadata-store-contract.ts';

/** The contracts that the in-memory twin keeps in `metadata-store.spec.ts` and `locks/client-locks.spec.ts`. */
async function onEtcd(): Promise<ContractSubject> {
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
}

metadataStoreContract('EtcdMetadataStore', onEtcd);
clientLocksContract('EtcdMetadataStore', onEtcd);
heldLockContract('EtcdMetadataStore', onEtcd);
