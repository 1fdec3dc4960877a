export { ToyCluster, nodeId } from './toy-cluster.ts';
