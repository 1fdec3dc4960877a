import type { AppendMessage, AppendPartMessage, DivergenceMessage, InstallOrderMessage } from '@atoll/core-replication';

/** What a leader sends on a follower's channel. */
export type LeaderMessage =
  | { readonly kind: 'append'; readonly message: AppendMessage }
  | { readonly kind: 'part'; readonly message: AppendPartMessage }
  | { readonly kind: 'divergence'; readonly message: DivergenceMessage }
  | { readonly kind: 'install'; readonly message: InstallOrderMessage }
  | { readonly kind: 'refusal'; readonly message: { readonly channel: number; readonly epoch: number } };
