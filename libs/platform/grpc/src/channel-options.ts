import type { ChannelOptions } from '@grpc/grpc-js';
import { MIB } from '@atoll/core-runtime';
import { MESSAGE_BYTES_MAX } from './message-limits.ts';

export interface ChannelSettings {
  /**
   * `calls`: requests and answers. `bulk`: streams of data toward this client, with a window of 8 MiB on a
   * connection of their own. `heartbeat`: a connection of its own, so that nothing queues before a
   * heartbeat (R14). Default `calls`.
   */
  readonly traffic?: 'calls' | 'bulk' | 'heartbeat';
  /** Window of each stream toward this client, in bytes, where bulk data is only passed on. Default 8 MiB for bulk, else 64 KiB. */
  readonly windowBytes?: number;
  /** Largest message sent or taken, in bytes. Default 65 MiB. */
  readonly messageBytesMax?: number;
}

/** The server's own window is fixed at 64 KiB (grpc-node#3058), so bulk flows from server to client. */
const BULK_WINDOW_BYTES = 8 * MIB;

/** Options of every channel that Atoll opens. */
export function createChannelOptions({ traffic = 'calls', windowBytes = traffic === 'bulk' ? BULK_WINDOW_BYTES : undefined, messageBytesMax = MESSAGE_BYTES_MAX }: ChannelSettings = {}): ChannelOptions {
  return {
    'grpc.max_receive_message_length': messageBytesMax,
    'grpc.max_send_message_length': messageBytesMax,
    'grpc.keepalive_time_ms': 10_000,
    'grpc.keepalive_timeout_ms': 5000,
    'grpc.keepalive_permit_without_calls': 1,
    // A restarted peer is found again within a second.
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1000,
    // A peer that came back behind its name at another address, as containers do, is looked up anew as often.
    'grpc.dns_min_time_between_resolutions_ms': 1000,
    // Repeating is decided by reasons and op ids (R21), never by the transport.
    'grpc.enable_retries': 0,
    'grpc.service_config_disable_resolution': 1,
    'grpc.enable_channelz': 0,
    'grpc.enable_http_proxy': 0,
    ...(traffic !== 'calls' && { 'grpc.use_local_subchannel_pool': 1 }),
    ...(windowBytes !== undefined && { 'grpc-node.flow_control_window': windowBytes }),
  };
}
