/** Replaced by tools/bundle.ts where a build has a version of its own: that of an image (VERSION of infra/docker/Dockerfile). */
declare const ATOLL_BUILD_VERSION: string | undefined;

/** Of this build, told in traces, metrics and logs; of the source tree it is that of the top package.json. */
export const VERSION = typeof ATOLL_BUILD_VERSION === 'string' ? ATOLL_BUILD_VERSION : '0.1.0';
