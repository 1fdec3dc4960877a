// `atoll cluster recover-metadata` in small (R13): everybody tells what it remembers, production's plan puts it together.
import { planMetadataRecovery, type NodeSpec, type PartitionRecord, type RememberedRecord, type Testimony, type VersionedRecord } from '@atoll/core-membership';
import type { Put } from '../base/sim-etcd.ts';
import { toVersioned } from '../base/versioned.ts';
import { ELECTION_KEY, KEYSPACE, PARTITIONS, SPECS, partitionKey, slotOf, specKey } from '../names.ts';
import type { SimNode } from '../node/sim-node.ts';
import type { World } from '../world.ts';

/** What somebody may have seen that nobody tells. */
const UNHEARD_REVISIONS = 1000;

/** Writes what was, unless something may be lost: then it says what, and has changed nothing. */
export function recoverMetadata(world: World, isForced: boolean): readonly string[] {
  const nodes = world.nodes.filter((node) => !node.isPaused && node.hasRead);
  const coordinators = world.coordinators.filter((coordinator) => !coordinator.isPaused);
  const known = new Set([...world.faults.operator.wantedNodes, ...world.down.keys(), ...world.nodes.map(({ id }) => id)]);
  const testimonies = [...nodes.map((node) => testimonyOf(world, node)), ...coordinators.map(({ id, etcd, view }) => ({ ...base(world, id), mark: etcd.ownMark, nodeSpecs: [...view.specs.values()], records: view.records().map(unheld) }))];
  const { partitions, nodeSpecs, risks } = planMetadataRecovery({
    stored: {
      keyspaces: new Map([[KEYSPACE, world.keyspace]]),
      nodeSpecs: new Map(world.etcd.list(SPECS).map(([key, { value }]) => [key.slice(SPECS.length), value as NodeSpec])),
      records: world.etcd.list(PARTITIONS).map(([, stored]) => toVersioned(stored)),
    },
    testimonies,
    unreachable: new Set([...known].filter((id) => !nodes.some((node) => node.id === id))),
    random: world.dice.random,
  });
  if (risks.length > 0 && !isForced) return risks;
  const puts: Put[] = [
    ...nodeSpecs.map((spec) => ({ key: specKey(spec.id), value: spec })),
    ...partitions.map(({ record }) => ({ key: partitionKey(slotOf(record)), value: record satisfies PartitionRecord })),
  ];
  const seen = [...world.nodes, ...world.coordinators].map(({ etcd }) => etcd.word.mark.revision);
  world.etcd.recover(Math.max(...seen) + UNHEARD_REVISIONS, puts, ELECTION_KEY);
  return [];
}

const base = (world: World, source: string): Pick<Testimony, 'source' | 'keyspaces'> => ({ source, keyspaces: [world.keyspace] });

const unheld = (versioned: VersionedRecord): RememberedRecord => ({ ...versioned, leads: false, heardEpoch: 0, held: undefined });

function testimonyOf(world: World, node: SimNode): Testimony {
  const inventory = node.inventory();
  const records = node.knownRecords().map((shown): RememberedRecord => {
    const hosted = node.hosted(slotOf(shown.record));
    if (hosted === undefined) return unheld(shown);
    const { leader, record, highestEpoch } = hosted.replica;
    const own = leader?.record.current ?? record;
    const newest = own !== undefined && own.modRevision >= shown.modRevision ? own : shown;
    const { state } = hosted;
    const held = inventory.replicas.get(`${KEYSPACE}/${shown.record.partition}`);
    return {
      ...newest,
      leads: leader?.epoch === newest.record.epoch,
      heardEpoch: highestEpoch,
      held: held && { ...held, end: state.log.end, installed: state.isInstalled },
    };
  });
  return { ...base(world, node.id), mark: node.etcd.ownMark, nodeSpecs: [...node.view.specs.values()], records };
}
