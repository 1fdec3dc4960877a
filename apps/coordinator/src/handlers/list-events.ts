import type { ListEventsRequest, ListEventsResponse } from '@atoll/contracts/atoll/v1/admin';
import { invalidArgument } from '@atoll/core-errors';
import { EVENTS_MAX, listEvents as readEvents } from '@atoll/platform-etcd';
import { readView, type AdminContext } from '../admin-context.ts';

const LIMIT_DEFAULT = 100;

export async function listEvents(context: AdminContext, { limit, kind }: ListEventsRequest): Promise<ListEventsResponse> {
  if (limit > EVENTS_MAX) throw invalidArgument('limit', `must be at most ${EVENTS_MAX}, not ${limit}`);
  readView(context);
  const events = await readEvents(context.store, { limit: limit || LIMIT_DEFAULT, kind });
  return { events: events.map((event) => ({ ...event, partitions: [...event.partitions] })) };
}
