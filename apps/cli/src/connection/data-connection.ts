import { createClient, type AtollClient } from '@atoll/client';
import type { Io } from '../io.ts';
import { routerAddresses, type ConnectionFlags } from './addresses.ts';

export interface DataFlags extends ConnectionFlags {
  readonly keyspace?: string;
  readonly json?: boolean;
}

/** Runs `use` with a client of the routers that the flags name, and closes it. */
export async function withClient<T>(io: Io, flags: DataFlags, use: (client: AtollClient) => Promise<T>): Promise<T> {
  const client = createClient({ routers: routerAddresses(io, flags), keyspace: flags.keyspace ?? '', deadlineMs: flags.timeout });
  try {
    return await use(client);
  } finally {
    client.close();
  }
}
