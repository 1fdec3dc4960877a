// infra/k8s says what the services, the images and infra/compose say: settings, ports, probes, times, names.
import { spawnSync } from 'node:child_process';
import { chmodSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HTTP_PORT_OFFSET, type Env } from '@atoll/platform-config';
import { parse, parseAllDocuments } from 'yaml';
import { parseConfig as backup } from '../apps/backup/src/config.ts';
import { parseConfig as coordinator } from '../apps/coordinator/src/config.ts';
import { parseConfig as router } from '../apps/router/src/config.ts';
import { readConfig as storageNode } from '../apps/storage-node/src/config.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const k8s = join(root, 'infra/k8s');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** gRPC port, and what reads the settings. */
const SERVICES = {
  router: { port: 7400, config: (env: Env) => router(env).common },
  'storage-node': { port: 7410, config: (env: Env) => storageNode(env) },
  coordinator: { port: 7420, config: (env: Env) => coordinator(env).common },
  backup: { port: 7430, config: (env: Env) => backup(env).common },
} as const;
type Service = keyof typeof SERVICES;

interface Labels {
  readonly [key: string]: string;
}
interface Probe {
  readonly httpGet?: { readonly path: string; readonly port: string };
  readonly grpc?: { readonly port: number };
}
interface EnvVariable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: { readonly fieldRef: { readonly fieldPath: string } };
}
interface Container {
  readonly name: string;
  readonly image: string;
  readonly env?: readonly EnvVariable[];
  readonly envFrom?: readonly { readonly configMapRef: { readonly name: string } }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly securityContext: unknown;
  readonly resources: { readonly requests: Labels; readonly limits: Labels };
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  readonly lifecycle?: { readonly preStop: { readonly exec: { readonly command: readonly string[] } } };
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
}
interface PodSpec {
  readonly serviceAccountName: string;
  readonly automountServiceAccountToken: boolean;
  readonly enableServiceLinks: boolean;
  readonly securityContext: unknown;
  readonly terminationGracePeriodSeconds: number;
  readonly containers: readonly [Container];
  readonly volumes: readonly { readonly name: string }[];
}
interface Peers {
  readonly ports?: readonly { readonly port: number }[];
}
/** What is looked at of a manifest of any kind. */
interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly automountServiceAccountToken?: boolean;
  readonly spec: {
    readonly serviceName?: string;
    readonly replicas: number;
    readonly podManagementPolicy?: string;
    readonly updateStrategy?: { readonly type: string };
    readonly selector: { readonly matchLabels: Labels } & Labels;
    readonly template: { readonly metadata: { readonly labels: Labels }; readonly spec: PodSpec };
    readonly volumeClaimTemplates?: readonly { readonly metadata: { readonly name: string } }[];
    readonly maxUnavailable?: number;
    readonly unhealthyPodEvictionPolicy?: string;
    readonly publishNotReadyAddresses?: boolean;
    readonly clusterIP?: string;
    readonly ports: readonly { readonly name: string; readonly port: number; readonly targetPort: string }[];
    readonly podSelector: { readonly matchLabels: Labels };
    readonly ingress?: readonly Peers[];
  };
}
interface Kustomization {
  readonly nameSuffix?: string;
  readonly labels?: readonly { readonly pairs: Labels; readonly includeSelectors: boolean }[];
  readonly resources?: readonly string[];
  readonly components?: readonly string[];
  readonly patches?: readonly { readonly patch: string }[];
  readonly configMapGenerator?: readonly { readonly name: string; readonly envs?: readonly string[]; readonly literals?: readonly string[] }[];
}

const yamlFiles = globSync('**/*.yaml', { cwd: k8s }).toSorted();
const kustomizations = yamlFiles.filter((file) => file.endsWith('kustomization.yaml')).map((file) => ({ directory: dirname(file), content: parse(read(`infra/k8s/${file}`)) as Kustomization }));
const manifests = yamlFiles.filter((file) => !file.endsWith('kustomization.yaml')).flatMap((file) => parseAllDocuments(read(`infra/k8s/${file}`)).map((document) => document.toJS() as Manifest));
const ofKind = (...kinds: readonly string[]): Manifest[] => manifests.filter(({ kind }) => kinds.includes(kind));
const workloads = ofKind('StatefulSet', 'Deployment');
const containerOf = ({ spec }: Manifest): Container => spec.template.spec.containers[0];
const services = Object.keys(SERVICES) as Service[];
const workloadOf = (service: Service): Manifest => workloads.find((workload) => containerOf(workload).image.startsWith(`atoll-${service}:`))!;
const matches = (selector: Labels, labels: Labels): boolean => Object.entries(selector).every(([key, value]) => labels[key] === value);
const podLabels = workloads.map(({ spec }) => spec.template.metadata.labels);

const assignments = (lines: readonly string[]): Record<string, string> =>
  Object.fromEntries(lines.filter((line) => /^[A-Z_]+=/.test(line)).map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));

/** What the kustomization of the base, or another one on top of it, puts into a ConfigMap. */
function configMap(name: string, directories = ['base']): Record<string, string> {
  const generators = kustomizations.filter(({ directory }) => directories.includes(directory)).flatMap(({ directory, content }) => (content.configMapGenerator ?? []).filter((generator) => generator.name === name).map((generator) => ({ directory, ...generator })));
  if (generators.length === 0) throw new Error(`no kustomization makes the ConfigMap ${name}`);
  const lines = generators.flatMap(({ directory, envs = [], literals = [] }) => [...envs.flatMap((file) => read(`infra/k8s/${directory}/${file}`).split('\n')), ...literals]);
  return assignments(lines);
}

/** What the image sets: the ENV lines of its target. */
function imageEnv(service: Service): Record<string, string> {
  const target = new RegExp(`^FROM runtime AS ${service}$([\\s\\S]*?)(?=^FROM |$(?![\\s\\S]))`, 'm').exec(read('infra/docker/Dockerfile'))![1]!;
  return assignments([...target.matchAll(/^ENV (.*)$/gm)].flatMap(([, line = '']) => line.split(' ')));
}

/** The environment of the first pod, with `$(NAME)` filled in as Kubernetes does it. */
function environment(workload: Manifest, service: Service, extra: readonly EnvVariable[] = []): Record<string, string> {
  const { env = [], envFrom = [] } = containerOf(workload);
  const result = { ...imageEnv(service), ...Object.assign({}, ...envFrom.map(({ configMapRef }) => configMap(configMapRef.name))) } as Record<string, string>;
  const fields: Readonly<Record<string, string>> = { 'metadata.name': `${workload.metadata.name}-0`, 'metadata.namespace': 'atoll' };
  for (const { name, value, valueFrom } of [...env, ...extra]) {
    result[name] = fields[valueFrom?.fieldRef.fieldPath ?? ''] ?? value!.replace(/\$\((\w+)\)/g, (_, other: string) => result[other] ?? `no ${other} before ${name}`);
  }
  return result;
}

const MEBIBYTES: Readonly<Record<string, number>> = { Mi: 1, Gi: 1024, MiB: 1, GiB: 1024 };
const mebibytes = (text: string): number => Number.parseInt(text, 10) * MEBIBYTES[/[A-Za-z]+$/.exec(text)![0]]!;

describe('infra/k8s', () => {
  it('names every file in a kustomization, and no file that is not there', () => {
    const named = kustomizations.flatMap(({ directory, content: { resources = [], components = [] } }) => [...resources, ...components].map((path) => normalize(join(directory, path))));
    const there = [...yamlFiles.filter((file) => !file.endsWith('kustomization.yaml')), ...kustomizations.map(({ directory }) => directory)];
    expect(named.filter((path) => !there.includes(path))).toEqual([]);
    // What is offered and what is applied: nothing includes these.
    expect(there.filter((path) => !named.includes(path))).toEqual(['components/monitoring', 'overlays/one-zone', 'overlays/standby-pool', 'overlays/three-zones']);
  });

  it('has the images of infra/compose', () => {
    const compose = read('infra/compose/docker-compose.yml');
    const { ATOLL_VERSION: version, ETCD_IMAGE: etcd } = assignments(read('infra/compose/.env').split('\n'));
    const composed = [...compose.matchAll(/image: (atoll-[a-z-]+):\$\{ATOLL_VERSION\}/g)].map(([, name]) => `${name}:${version}`);
    expect(new Set(workloads.map((workload) => containerOf(workload).image))).toEqual(new Set([...composed, etcd]));
  });

  describe.each(services)('%s', (service) => {
    const { port, config } = SERVICES[service];
    const workload = workloadOf(service);
    const container = containerOf(workload);

    it('gets settings that it knows and takes, and an address at which it is found', () => {
      const env = environment(workload, service);
      const { listen, advertise, httpListen, id } = config(env);
      expect(listen.port).toBe(port);
      expect(advertise.port).toBe(port);
      expect(httpListen?.port).toBe(port + HTTP_PORT_OFFSET);
      expect(id).toBe(`${workload.metadata.name}-0`);
      // A StatefulSet's pods have names of their own in a headless Service; those of a Deployment share one.
      const hosts = { StatefulSet: `${id}.${workload.spec.serviceName}.atoll`, Deployment: `${workload.metadata.name}.atoll` };
      expect(advertise.host).toBe(hosts[workload.kind as keyof typeof hosts]);
      const named = ofKind('Service').find(({ metadata }) => metadata.name === (workload.spec.serviceName ?? workload.metadata.name));
      expect(named?.spec.clusterIP).toBe(workload.kind === 'StatefulSet' ? 'None' : undefined);
    });

    it('listens, is probed, found and let through on one port', () => {
      expect(container.ports).toEqual([{ name: 'grpc', containerPort: port }, { name: 'http', containerPort: port + HTTP_PORT_OFFSET }]);
      const labels = workload.spec.template.metadata.labels;
      const found = ofKind('Service').filter(({ spec }) => matches(spec.selector, labels));
      expect(found.map(({ spec }) => spec.ports)).toMatchObject([[{ name: 'grpc', port, targetPort: 'grpc' }]]);
      const opened = ofKind('NetworkPolicy').filter(({ spec }) => spec.ingress !== undefined && matches(spec.podSelector.matchLabels, labels)).flatMap(({ spec }) => spec.ingress!.flatMap(({ ports = [] }) => ports.map((each) => each.port)));
      expect(opened).toContain(port);
      expect(opened).toContain(port + HTTP_PORT_OFFSET);
    });

    it('has probes: it lives by /healthz; it is ready by gRPC, but a storage node by /readyz, which tells of redundancy', () => {
      const healthz = { httpGet: { path: '/healthz', port: 'http' } };
      expect(container.startupProbe).toMatchObject(healthz);
      expect(container.livenessProbe).toMatchObject(healthz);
      expect(container.readinessProbe).toMatchObject(service === 'storage-node' ? { httpGet: { path: '/readyz', port: 'http' } } : { grpc: { port } });
    });

    it('has more time to stop than ATOLL_SHUTDOWN_MS', () => {
      const waitS = Number(container.lifecycle?.preStop.exec.command[1] ?? 0);
      expect(waitS).toBe(service === 'router' ? 5 : 0);
      expect(workload.spec.template.spec.terminationGracePeriodSeconds * 1000).toBeGreaterThanOrEqual(config(environment(workload, service)).shutdownMs + waitS * 1000 + 5000);
    });
  });

  it.each(workloads.map((workload) => [workload.metadata.name, workload] as const))('%s may do little', (_, { spec }) => {
    const pod = spec.template.spec;
    const [{ securityContext, resources, volumeMounts }] = pod.containers;
    expect(pod).toMatchObject({ serviceAccountName: 'atoll', automountServiceAccountToken: false, enableServiceLinks: false });
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000, seccompProfile: { type: 'RuntimeDefault' } });
    expect(securityContext).toEqual({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } });
    expect(mebibytes(resources.requests.memory!)).toBeLessThanOrEqual(mebibytes(resources.limits.memory!));
    const volumes = [...pod.volumes, ...(spec.volumeClaimTemplates ?? []).map(({ metadata }) => metadata)].map(({ name }) => name);
    expect(volumeMounts.map(({ name }) => name).toSorted()).toEqual(volumes.toSorted());
  });

  it('lets the account of the pods do nothing, and no Secret is there, since no setting holds one', () => {
    expect(ofKind('ServiceAccount').map(({ automountServiceAccountToken }) => automountServiceAccountToken)).toEqual([false]);
    expect(ofKind('Secret', 'Role', 'ClusterRole', 'RoleBinding', 'ClusterRoleBinding')).toEqual([]);
  });

  it('selects by Services, budgets and policies pods that are there', () => {
    const selectors = [...ofKind('Service').map(({ spec }) => spec.selector as Labels), ...ofKind('PodDisruptionBudget').map(({ spec }) => spec.selector.matchLabels), ...ofKind('NetworkPolicy').map(({ spec }) => spec.podSelector.matchLabels)];
    expect(selectors.length).toBeGreaterThan(10);
    expect(selectors.filter((selector) => !podLabels.some((labels) => matches(selector, labels)))).toEqual([]);
    for (const { spec } of workloads) expect(matches(spec.selector.matchLabels, spec.template.metadata.labels)).toBe(true);
  });

  it('disrupts one pod of a kind at a time, and no storage node while another is not ready', () => {
    const budgets = new Map(ofKind('PodDisruptionBudget').map(({ metadata, spec }) => [metadata.name, spec]));
    expect([...budgets.keys()].toSorted()).toEqual(['coordinator', 'etcd', 'router', 'storage-node']);
    expect([...budgets.values()].map(({ maxUnavailable }) => maxUnavailable)).toEqual([1, 1, 1, 1]);
    expect(budgets.get('storage-node')?.unhealthyPodEvictionPolicy).toBe('IfHealthyBudget');
  });

  it('starts storage nodes together and tells their names before they are ready: each waits for the others', () => {
    expect(workloadOf('storage-node').spec.podManagementPolicy).toBe('Parallel');
    expect(ofKind('Service').find(({ metadata }) => metadata.name === 'storage-node')?.spec.publishNotReadyAddresses).toBe(true);
  });

  it('gives storage nodes twice their entries, and 300 MiB, and keeps their data and the archives on volumes', () => {
    const workload = workloadOf('storage-node');
    const env = environment(workload, 'storage-node');
    expect(mebibytes(containerOf(workload).resources.limits.memory!)).toBeGreaterThanOrEqual(2 * mebibytes(env.STORAGE_NODE_MEMORY_BYTES_MAX!) + 300);
    expect(containerOf(workload).volumeMounts).toContainEqual({ name: 'data', mountPath: env.STORAGE_NODE_DATA_DIR });
    expect(containerOf(workloadOf('backup')).volumeMounts).toContainEqual({ name: 'repository', mountPath: environment(workloadOf('backup'), 'backup').BACKUP_REPOSITORY });
  });

  it('asks the members of the etcd that it brings, and tells the command where services are', () => {
    const etcd = workloads.find(({ metadata }) => metadata.name === 'etcd')!;
    const members = Array.from({ length: etcd.spec.replicas }, (_, index) => `etcd-${index}`);
    expect(configMap('atoll').ATOLL_ETCD).toBe(members.map((name) => `http://${name}.etcd:2379`).join());
    expect(containerOf(etcd).env).toContainEqual({ name: 'ETCD_INITIAL_CLUSTER', value: members.map((name) => `${name}=http://${name}.etcd:2380`).join() });
    const command = containerOf(workloads.find((workload) => containerOf(workload).image.startsWith('atoll-cli:'))!);
    const coordinators = Array.from({ length: workloadOf('coordinator').spec.replicas }, (_, index) => `coordinator-${index}.coordinator:7420`);
    expect(command.env).toEqual([{ name: 'ATOLL_ROUTER', value: 'router:7400' }, { name: 'ATOLL_COORDINATOR', value: coordinators.join() }, { name: 'ATOLL_BACKUP', value: 'backup-0.backup:7430' }]);
  });

  /** The folders of an overlay, each a zone of its own, by the order of their names. */
  const partsOf = (overlay: string) => kustomizations.filter(({ directory }) => dirname(directory) === `overlays/${overlay}`);
  const patchesOf = ({ content }: { readonly content: Kustomization }): Manifest[] => (content.patches ?? []).map(({ patch }) => parse(patch) as Manifest);

  describe('a standby pool', () => {
    const [main, standby] = partsOf('standby-pool');
    const nodes = [main, standby].map((part) => patchesOf(part!)[0]!);
    const machines = (patch: Manifest): unknown => (patch.spec.template.spec as PodSpec & { readonly affinity: unknown }).affinity;

    it('has nodes of a pool of their own, as many as a keyspace has replicas, on other machines, and a router there', () => {
      const config = (patch: Manifest) => storageNode(environment(workloadOf('storage-node'), 'storage-node', containerOf(patch).env));
      expect(nodes.map((patch) => config(patch).pool)).toEqual(['main', 'standby']);
      expect(nodes[1]!.spec.replicas).toBeGreaterThanOrEqual(Number(configMap('coordinator').COORDINATOR_DEFAULT_REPLICATION_FACTOR));
      expect(machines(nodes[0]!)).not.toEqual(machines(nodes[1]!));
      for (const [index, part] of [main!, standby!].entries()) {
        const routers = patchesOf(part)[1]!;
        expect(routers.spec.replicas).toBeGreaterThan(0);
        expect(machines(routers)).toEqual(machines(nodes[index]!));
        expect(router(environment(workloadOf('router'), 'router', containerOf(routers).env)).zone).toBe(config(nodes[index]!).zone);
      }
    });

    it('has names and selectors of its own, and the Service, the budget and the policies of all storage nodes', () => {
      expect([main, standby].map((part) => part!.content.nameSuffix)).toEqual([undefined, '-standby']);
      expect([main, standby].map((part) => part!.content.labels)).toEqual(['main', 'standby'].map((pool) => [{ pairs: { 'atoll-pool': pool }, includeSelectors: true }]));
      expect([main, standby].map((part) => part!.content.resources)).toEqual([['../../../zone'], ['../../../zone']]);
    });

    it('is not restarted by the change that restarts the nodes that serve', () => {
      expect(workloadOf('storage-node').spec.updateStrategy).toEqual({ type: 'RollingUpdate' });
      expect(nodes.map(({ spec }) => spec.updateStrategy)).toEqual([undefined, { type: 'OnDelete' }]);
    });

    it('is the profile standby of infra/compose', () => {
      const { services: composed } = parse(read('infra/compose/docker-compose.yml'), { merge: true, maxAliasCount: -1 }) as { readonly services: Readonly<Record<string, { readonly profiles?: readonly string[]; readonly environment?: Labels }>> };
      const ofProfile = Object.values(composed).filter(({ profiles = [] }) => profiles.includes('standby'));
      expect(ofProfile.map(({ environment: env }) => env?.STORAGE_NODE_POOL)).toEqual(['standby', 'standby']);
      expect(ofProfile).toHaveLength(nodes[1]!.spec.replicas);
    });
  });

  describe('three zones', () => {
    const zones = partsOf('three-zones');

    it('have their settings in each pod, and no StatefulSet restarts a node by itself', () => {
      expect(zones).toHaveLength(3);
      const seen = zones.map((zone) => {
        const [node, routers] = patchesOf(zone);
        expect(node?.spec.updateStrategy).toEqual({ type: 'OnDelete' });
        const nodeZone = storageNode(environment(workloadOf('storage-node'), 'storage-node', containerOf(node!).env)).zone;
        expect(router(environment(workloadOf('router'), 'router', containerOf(routers!).env)).zone).toBe(nodeZone);
        return nodeZone;
      });
      expect(new Set(seen).size).toBe(3);
    });

    it('hold a replica each', () => {
      const directories = ['base', 'overlays/three-zones'];
      expect(coordinator({ ...environment(workloadOf('coordinator'), 'coordinator'), ...configMap('coordinator', directories) })).toMatchObject({ common: { id: 'coordinator-0' } });
      expect(configMap('coordinator', directories).COORDINATOR_DEFAULT_REPLICATION_FACTOR).toBe('3');
    });
  });
});

/** Answers as an API server would: two StatefulSets, one outdated pod in each, evictions refused `refusals` times. */
const KUBECTL = `#!/usr/bin/env bash
case "$*" in
  *"get statefulsets "*) printf 'statefulset.apps/storage-node-a\\nstatefulset.apps/storage-node-b\\n' ;;
  *generation*" -o "*|*generation}) echo 4 ;;
  *" wait "*) ;;
  *updateRevision*) echo new ;;
  *"get pods "*) [[ $* == *'controller-revision-hash!=new'* ]] && printf 'pod/storage-node-a-1\\npod/storage-node-b-0\\n' ;;
  *eviction*)
    left=$(cat "$STATE/refusals")
    if ((left > 0)); then echo $((left - 1)) >"$STATE/refusals"; echo "Error from server ($REFUSAL): no" >&2; exit 1; fi
    cat >>"$STATE/evicted"; echo >>"$STATE/evicted" ;;
  *disruptionsAllowed*) echo 1 ;;
  *) echo "unknown: $*" >&2; exit 9 ;;
esac
`;

describe('infra/k8s/roll.sh', () => {
  let state: string;
  beforeEach(() => {
    state = mkdtempSync(join(tmpdir(), 'atoll-roll-'));
    writeFileSync(join(state, 'kubectl'), KUBECTL);
    chmodSync(join(state, 'kubectl'), 0o755);
    writeFileSync(join(state, 'evicted'), '');
  });
  afterEach(() => rmSync(state, { recursive: true, force: true }));

  function roll(refusals: number, reason: string): { status: number | null; stderr: string; evicted: string[] } {
    writeFileSync(join(state, 'refusals'), `${refusals}`);
    const env = { PATH: `${state}:${process.env.PATH}`, STATE: state, REFUSAL: reason, ROLL_PAUSE_S: '0' };
    const { status, stderr } = spawnSync('bash', [join(k8s, 'roll.sh'), 'caches'], { env, encoding: 'utf8' });
    const evictions = readFileSync(join(state, 'evicted'), 'utf8').trim().split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as { readonly metadata: { readonly name: string; readonly namespace: string } });
    return { status, stderr, evicted: evictions.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`) };
  }

  it('evicts what is outdated in each StatefulSet once, and asks again while it is refused', () => {
    expect(roll(3, 'TooManyRequests')).toEqual({ status: 0, stderr: '', evicted: ['caches/storage-node-a-1', 'caches/storage-node-b-0'] });
  });

  it('ends at any other failure', () => {
    expect(roll(1, 'Forbidden')).toEqual({ status: 1, stderr: 'storage-node-a-1: Error from server (Forbidden): no\n', evicted: [] });
  });
});
