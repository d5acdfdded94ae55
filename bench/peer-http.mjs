// The ceiling: node:http that answers every request with the same bytes, and knows nothing. One line of JSON says its port. Argument: how long the body is.
// JavaScript, as the other peer: what Node needs to read TypeScript would count as the peer's.
import { createServer } from 'node:http';

const body = Buffer.alloc(Number(process.argv[2]), 'x');
const server = createServer((_request, response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length }).end(body);
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify(server.address())}\n`);
});
