// A program with the manners of a service: settings from the environment, /readyz, a clean end on SIGTERM.
// Specs of the supervisor run it where the services themselves would only cost time. SMALL_SERVICE_MODE makes
// the process named by SMALL_SERVICE_ID misbehave: `refuse` ends with 2, `deaf` ignores SIGTERM.
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';

const { ATOLL_ID, ATOLL_LISTEN, ATOLL_HTTP_LISTEN, SMALL_SERVICE_MODE, SMALL_SERVICE_ID } = process.env;
const mode = SMALL_SERVICE_ID === ATOLL_ID ? SMALL_SERVICE_MODE : undefined;
if (mode === 'refuse') {
  console.error('settings are wrong: SMALL_SERVICE_MODE');
  process.exit(2);
}
const port = (address) => Number(address.split(':')[1]);
createTcpServer((socket) => socket.destroy()).listen(port(ATOLL_LISTEN), '127.0.0.1');
createServer((_request, response) => response.end('ok')).listen(port(ATOLL_HTTP_LISTEN), '127.0.0.1');
process.on('SIGTERM', () => {
  if (mode !== 'deaf') process.exit(0);
});
