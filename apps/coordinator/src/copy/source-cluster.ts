// What another cluster says of a keyspace that is to be copied from there: asked once, before anything is written.
import { credentials } from '@grpc/grpc-js';
import { CopyClient, type DescribeSourceResponse, type SourcePartition } from '@atoll/contracts/atoll/v1/copy';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import { SOURCE_ROUTERS_MAX, type KeyspaceSpec, type SourceCluster } from '@atoll/core-membership';
import { parseAddress } from '@atoll/platform-config';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { toKeyspaceSpec } from '@atoll/platform-wire';

const FIELD = 'source_routers';
/** Each router is asked for so long, all of them side by side, in ms: below what the command gives one coordinator of several. */
const ASK_MS = 2000;

export interface SourceElsewhere {
  readonly source: KeyspaceSpec;
  readonly cluster: SourceCluster;
  /** What its partitions take there; those whose leaders did not say are missing. */
  readonly partitions: readonly SourcePartition[];
  /** It is being copied itself, from there; undefined otherwise. */
  readonly copiedFrom: string | undefined;
  /** The cluster that has it since a cut-over; undefined: it is not gone. */
  readonly movedTo: string | undefined;
}

/** Throws INVALID_ARGUMENT for what cannot be addresses of routers. */
export function checkSourceRouters(routers: readonly string[]): void {
  if (routers.length > SOURCE_ROUTERS_MAX) throw invalidArgument(FIELD, `must be at most ${SOURCE_ROUTERS_MAX}, not ${routers.length}`);
  for (const [index, router] of routers.entries()) {
    if (router.length > 255 || (parseAddress(router)?.port ?? 0) === 0) throw invalidArgument(FIELD, `must be host:port, not ${JSON.stringify(router.slice(0, 80))}`);
    if (routers.indexOf(router) < index) throw invalidArgument(FIELD, `name ${router} twice`);
  }
}

/**
 * Asks all routers: one that answers is enough, and those that answer must be of one cluster, and not of this one. Throws
 * INVALID_ARGUMENT naming the field, KEYSPACE_NOT_FOUND, COPY_NOT_OFFERED, and SOURCE_UNREACHABLE when none answers.
 */
export async function askSourceCluster(routers: readonly string[], keyspace: string, ownClusterId: string): Promise<SourceElsewhere> {
  const answers = await Promise.all(routers.map(async (router) => ({ router, answer: await describe(router, keyspace) })));
  let found: { readonly router: string; readonly answer: DescribeSourceResponse } | undefined;
  const failures: { readonly router: string; readonly error: AtollError }[] = [];
  for (const { router, answer } of answers) {
    if (isAtollError(answer)) {
      failures.push({ router, error: answer });
      continue;
    }
    found ??= { router, answer };
    if (answer.clusterId !== found.answer.clusterId) {
      throw invalidArgument(FIELD, `belong to different clusters: ${found.router} to ${found.answer.clusterId}, ${router} to ${answer.clusterId}`);
    }
    if (answer.keyspaceId !== found.answer.keyspaceId) throw invalidArgument(FIELD, `${found.router} and ${router} do not know the same keyspace ${keyspace}: try again in a moment`);
  }
  refuse(failures);
  if (found === undefined) {
    throw new AtollError('SOURCE_UNREACHABLE', `${FIELD}: none of them answers: ${failures.map(({ router, error }) => `${router}: ${error.message}`).join('; ')}`, { metadata: { field: FIELD } });
  }
  const { clusterId, keyspaceId, keyspace: message, archive } = found.answer;
  // Routers are asked side by side, and one may have lost sight of a leader.
  const partitions = [...new Map(answers.flatMap(({ answer }) => (isAtollError(answer) ? [] : answer.partitions)).map((one) => [one.partition, one])).values()];
  if (clusterId === ownClusterId) throw invalidArgument(FIELD, `${found.router} belongs to this very cluster: leave them out to copy within it`);
  const source = specOf(found.router, message && { ...message, copyOf: undefined }, keyspaceId);
  return { source, cluster: { id: clusterId, routers: [...routers], partitionCount: source.partitionCount, ...(archive !== '' && { archive }) }, partitions, copiedFrom: message?.copyOf, movedTo: message?.freeze?.movedToCluster || undefined };
}

/** A router that is not there may come back; one that refuses is a mistake, whatever the others say. */
function refuse(failures: readonly { readonly router: string; readonly error: AtollError }[]): void {
  for (const { router, error } of failures) {
    const { reason, message } = error;
    if (reason === 'KEYSPACE_NOT_FOUND') throw new AtollError(reason, `${message} in the cluster of ${router}`, { metadata: { ...error.metadata, field: 'keyspace' } });
    if (reason === 'COPY_NOT_OFFERED') throw new AtollError(reason, `${FIELD}: ${router}: ${message}`, { metadata: { field: FIELD } });
    if (error.metadata['status'] === 'UNIMPLEMENTED') throw invalidArgument(FIELD, `${router} is no router that a keyspace can be copied through`);
  }
}

/** What the first router that answers offers. Throws COPY_NOT_OFFERED, and SOURCE_UNREACHABLE when none answers. */
export async function listSources(routers: readonly string[]): Promise<readonly string[]> {
  let failure = '';
  for (const router of routers) {
    const client = new CopyClient(router, credentials.createInsecure(), createChannelOptions());
    try {
      return (await callUnary(client, 'listSources', {}, { deadlineMs: ASK_MS })).keyspaces;
    } catch (error) {
      if (!isAtollError(error)) throw error;
      refuse([{ router, error }]);
      failure = `${router}: ${error.message}`;
    } finally {
      client.close();
    }
  }
  throw new AtollError('SOURCE_UNREACHABLE', `${FIELD}: none of them answers: ${failure}`, { metadata: { field: FIELD } });
}

/** The answer, or why there is none. */
async function describe(router: string, keyspace: string): Promise<DescribeSourceResponse | AtollError> {
  const client = new CopyClient(router, credentials.createInsecure(), createChannelOptions());
  try {
    return await callUnary(client, 'describeSource', { keyspace }, { deadlineMs: ASK_MS });
  } catch (error) {
    if (!isAtollError(error)) throw error;
    return error;
  } finally {
    client.close();
  }
}

/** Settings that this program does not understand are not copied. */
function specOf(router: string, message: DescribeSourceResponse['keyspace'], id: string): KeyspaceSpec {
  try {
    if (message === undefined || id === '') throw invalidArgument('keyspace', 'is missing');
    return toKeyspaceSpec(message, id);
  } catch (error) {
    if (!isAtollError(error)) throw error;
    throw invalidArgument(FIELD, `the answer of ${router} is not understood: ${error.message}`);
  }
}
