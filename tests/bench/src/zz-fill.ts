import { readFileSync } from 'node:fs';
import { createClient } from '@atoll/client';
const [file, from, count, tag] = process.argv.slice(2);
const c = createClient({ routers: JSON.parse(readFileSync(file!, 'utf8')).routers.map((r: any) => r.address), keyspace: 'bulk' });
let next = Number(from); const end = next + Number(count); let bad = 0;
await Promise.all(Array.from({ length: 8 }, async () => { while (next < end) { const at = next; next += 500; const o = await c.setMany(Array.from({ length: Math.min(500, end - at) }, (_, i) => ({ key: `key-${at + i}`, value: `${tag} ${at + i} `.padEnd(100, 'x') })), { deadlineMs: 30000 }); bad += o.filter((x) => !x.ok).length; } }));
console.log('written', count, 'bad', bad); c.close(); process.exit(0);
