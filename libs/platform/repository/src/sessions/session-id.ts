/**
 * Of whoever works on a repository: the cluster, the fencing token under which it works (R38) and a number of its own. Of one
 * cluster a higher token is a later holder of the lock; tokens of several clusters do not compare.
 */
export interface SessionId {
  readonly clusterId: string;
  readonly fencingToken: number;
  readonly number: number;
}

const SESSION = /^([A-Za-z0-9_-]{1,64})\.(\d{16})\.(\d{1,9})$/;

export const formatSession = ({ clusterId, fencingToken, number }: SessionId): string => `${clusterId}.${String(fencingToken).padStart(16, '0')}.${number}`;

/** Undefined for what is no id of a session. */
export function parseSession(text: string): SessionId | undefined {
  const match = SESSION.exec(text);
  return match === null ? undefined : { clusterId: match[1]!, fencingToken: Number(match[2]), number: Number(match[3]) };
}
