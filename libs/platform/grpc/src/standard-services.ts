import { existsSync, readFileSync } from 'node:fs';
import type { Server, ServiceDefinition } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { addReflection } from './reflection.ts';

const HEALTH = 'grpc.health.v1.Health';
const REFLECTION = 'grpc.reflection.v1.ServerReflection';

/** Answers of `grpc.health.v1` for the whole process (service "") and each of its services. */
export interface Health {
  /** Starts as false. Watchers are told of changes. */
  setServing(isServing: boolean): void;
}

export interface StandardServicesOptions {
  /** Generated definitions of the services that the server has: `[CacheService]`. */
  readonly services: readonly ServiceDefinition[];
  /** A serialized FileDescriptorSet. Default: the one of @atoll/contracts, or `descriptor.binpb` beside a bundle. */
  readonly descriptorSet?: Uint8Array;
}

/** Adds health and reflection, which every Atoll server has, so that a client that knows no proto can use it. */
export function addStandardServices(server: Server, options: StandardServicesOptions): Health {
  const names = options.services.map(serviceName);
  const health = new HealthImplementation({});
  const setServing = (isServing: boolean): void => {
    for (const name of ['', ...names, HEALTH, REFLECTION]) health.setStatus(name, isServing ? 'SERVING' : 'NOT_SERVING');
  };
  setServing(false);
  health.addToServer(server);
  addReflection(server, options.descriptorSet ?? readDescriptorSet(), [...names, HEALTH, REFLECTION]);
  return { setServing };
}

/** `atoll.v1.Cache` from the path of any of its methods, `/atoll.v1.Cache/Get`. */
function serviceName(service: ServiceDefinition): string {
  const [method] = Object.values(service);
  if (method === undefined) throw new Error('a service without methods has no name');
  return method.path.slice(1, method.path.lastIndexOf('/'));
}

function readDescriptorSet(): Uint8Array {
  const bundled = new URL('./descriptor.binpb', import.meta.url);
  return readFileSync(existsSync(bundled) ? bundled : new URL(import.meta.resolve('@atoll/contracts/descriptor.binpb')));
}
