// The ceiling for object storage: node:http that takes every PUT and forgets it, and answers every GET with as many bytes. One line of JSON says its port.
// Argument: how long an answer is.
import { createServer } from 'node:http';

const size = Number(process.argv[2]);
const piece = Buffer.alloc(Math.min(size, 65_536), 'x');
const server = createServer(async (request, response) => {
  if (request.method === 'PUT') {
    request.resume().on('end', () => response.writeHead(200, { 'content-length': 0 }).end());
    return;
  }
  response.writeHead(200, { 'content-length': size });
  let left = size;
  const send = () => {
    while (left > 0) {
      const bytes = left < piece.length ? piece.subarray(0, left) : piece;
      left -= bytes.length;
      if (!response.write(bytes)) return void response.once('drain', send);
    }
    response.end();
  };
  send();
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`${JSON.stringify(server.address())}\n`));
