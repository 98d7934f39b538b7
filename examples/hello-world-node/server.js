// Hello World: one page that shows its version, in its colour. Both are in package.json; VERSION and COLOUR in the
// environment win over it, PORT over 3000 (0 takes any free port), and HOST over all addresses.
'use strict';

const http = require('node:http');
const told = require('./package.json');

const version = process.env.VERSION || told.version;
const colour = process.env.COLOUR || told.config.colour;
const port = process.env.PORT || '3000';
const host = process.env.HOST || undefined;

const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escaped = (text) => text.replace(/[&<>"']/g, (character) => entities[character]);

const page = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Hello World ${escaped(version)}</title></head>
<body style="background: ${escaped(colour)}; font-family: sans-serif; text-align: center; padding-top: 20vh">
<h1>Running Hello World v. ${escaped(version)}</h1>
</body>
</html>
`;

const answers = {
  '/': [200, 'text/html; charset=utf-8', page],
  '/healthz': [200, 'text/plain; charset=utf-8', 'ok\n'],
};
const unknown = [404, 'text/plain; charset=utf-8', 'There is one page here: /\n'];
const refused = [405, 'text/plain; charset=utf-8', 'This page can only be read.\n'];

const server = http.createServer((request, response) => {
  const reads = request.method === 'GET' || request.method === 'HEAD';
  const [status, type, text] = reads ? answers[request.url.split('?')[0]] ?? unknown : refused;
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(text),
    'Cache-Control': 'no-store',
    ...(status === 405 && { Allow: 'GET, HEAD' }),
  });
  response.end(request.method === 'HEAD' ? undefined : text);
});

// A proxy keeps connections: longer here than there, or it sends into one that is closing.
server.keepAliveTimeout = 60_000;

server.on('error', (wrong) => {
  console.error(`Hello World cannot listen on port ${port}: ${wrong.message}`);
  process.exitCode = 1;
});
server.listen({ port: Number(port), host }, () => {
  console.log(`Hello World ${version} listens on port ${server.address().port}`);
});

// As the first process of a container it would ignore both signals without this.
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => {
    server.close(); // what is in flight ends first
    server.closeIdleConnections();
  });
}
