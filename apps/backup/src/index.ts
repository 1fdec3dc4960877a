export { BACKUP_PREFIX, SETTINGS, parseConfig } from './config.ts';
export type { Config } from './config.ts';
export { startBackup } from './backup.ts';
export type { Backup, BackupOptions } from './backup.ts';
