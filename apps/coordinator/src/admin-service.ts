import type { Server } from '@grpc/grpc-js';
import { AdminService, type AdminServer } from '@atoll/contracts/atoll/v1/admin';
import { DEFAULT_KEYSPACE } from '@atoll/core-runtime';
import type { RpcHandlers } from '@atoll/platform-grpc';
import type { AdminContext } from './admin-context.ts';
import { createKeyspace } from './handlers/create-keyspace.ts';
import { cutOverMigration } from './handlers/cut-over-migration.ts';
import { deleteKeyspace } from './handlers/delete-keyspace.ts';
import { drainNode } from './handlers/drain-node.ts';
import { freezeKeyspace, unfreezeKeyspace } from './handlers/freeze-keyspace.ts';
import { getCluster } from './handlers/get-cluster.ts';
import { getKeyspace } from './handlers/get-keyspace.ts';
import { listEvents } from './handlers/list-events.ts';
import { listKeyspaces } from './handlers/list-keyspaces.ts';
import { listNodes } from './handlers/list-nodes.ts';
import { listPartitions } from './handlers/list-partitions.ts';
import { cancelMigration, getMigration, listMigrations, pauseMigration, resumeMigration } from './handlers/migrations.ts';
import { planRebalance, rebalance } from './handlers/rebalance.ts';
import { replaceNode } from './handlers/replace-node.ts';
import { startMigration } from './handlers/start-migration.ts';
import { withStoredName } from './handlers/stored-name.ts';
import { watchMigration } from './handlers/watch-migration.ts';
import { recoverMetadata } from './handlers/recover-metadata.ts';
import { recoverPartitions } from './handlers/recover-partitions.ts';
import { removeNode } from './handlers/remove-node.ts';
import { transferLeadership } from './handlers/transfer-leadership.ts';
import { updateKeyspace } from './handlers/update-keyspace.ts';
import { syncReplicas, verifyReplicas } from './handlers/verify-replicas.ts';

export function addAdminService(server: Server, handlers: RpcHandlers, context: AdminContext): void {
  const service: AdminServer = {
    getCluster: handlers.unary(AdminService.getCluster, () => getCluster(context)),
    listNodes: handlers.unary(AdminService.listNodes, () => listNodes(context)),
    createKeyspace: handlers.unary(AdminService.createKeyspace, (request, call) => createKeyspace(context, request, call)),
    updateKeyspace: handlers.unary(AdminService.updateKeyspace, (request) => updateKeyspace(context, request)),
    getKeyspace: handlers.unary(AdminService.getKeyspace, (request) => getKeyspace(context, request)),
    listKeyspaces: handlers.unary(AdminService.listKeyspaces, () => listKeyspaces(context)),
    deleteKeyspace: handlers.unary(AdminService.deleteKeyspace, (request, call) => deleteKeyspace(context, request, call)),
    freezeKeyspace: handlers.unary(AdminService.freezeKeyspace, (request, call) => freezeKeyspace(context, request, call)),
    unfreezeKeyspace: handlers.unary(AdminService.unfreezeKeyspace, (request, call) => unfreezeKeyspace(context, request, call)),
    listPartitions: handlers.unary(AdminService.listPartitions, (request) => listPartitions(context, withStoredName(context, request))),
    listEvents: handlers.unary(AdminService.listEvents, (request) => listEvents(context, request)),
    drainNode: handlers.unary(AdminService.drainNode, (request) => drainNode(context, request)),
    removeNode: handlers.unary(AdminService.removeNode, (request) => removeNode(context, request)),
    transferLeadership: handlers.unary(AdminService.transferLeadership, (request, call) => transferLeadership(context, withStoredName(context, request, DEFAULT_KEYSPACE), call)),
    recoverPartitions: handlers.unary(AdminService.recoverPartitions, (request, call) => recoverPartitions(context, withStoredName(context, request, DEFAULT_KEYSPACE), call)),
    recoverMetadata: handlers.unary(AdminService.recoverMetadata, (request, call) => recoverMetadata(context, request, call)),
    verifyReplicas: handlers.serverStream(AdminService.verifyReplicas, verifyReplicas(context)),
    syncReplicas: handlers.serverStream(AdminService.syncReplicas, syncReplicas(context)),
    startMigration: handlers.unary(AdminService.startMigration, (request) => startMigration(context, withStoredName(context, request, DEFAULT_KEYSPACE))),
    replaceNode: handlers.unary(AdminService.replaceNode, (request, call) => replaceNode(context, request, call)),
    getMigration: handlers.unary(AdminService.getMigration, (request) => getMigration(context, request)),
    listMigrations: handlers.unary(AdminService.listMigrations, (request) => listMigrations(context, request)),
    watchMigration: handlers.serverStream(AdminService.watchMigration, watchMigration(context)),
    pauseMigration: handlers.unary(AdminService.pauseMigration, (request) => pauseMigration(context, request)),
    resumeMigration: handlers.unary(AdminService.resumeMigration, (request) => resumeMigration(context, request)),
    cutOverMigration: handlers.unary(AdminService.cutOverMigration, (request, call) => cutOverMigration(context, request, call)),
    cancelMigration: handlers.unary(AdminService.cancelMigration, (request) => cancelMigration(context, request)),
    planRebalance: handlers.unary(AdminService.planRebalance, (request) => planRebalance(context, withStoredName(context, request))),
    rebalance: handlers.unary(AdminService.rebalance, (request) => rebalance(context, withStoredName(context, request))),
  };
  server.addService(AdminService, service);
}
