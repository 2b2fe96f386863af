// The Node server of the integration tests: node server.js
//
// Sockets: one, descriptor 3, if LISTEN_PID says that it is ours and LISTEN_FDS that there is no other.
// Ready: systemd-notify --ready once it listens, so READY=1 comes from a descendant of the server.
// /slow takes two seconds.
// Stop: SIGTERM accepts no more, closes idle connections, answers the others with "Connection: close"; exits 0.
'use strict';
const http = require('http');
const { spawn } = require('child_process');

if (process.env.LISTEN_PID !== String(process.pid) || process.env.LISTEN_FDS !== '1') {
  console.error(`server.js: LISTEN_PID=${process.env.LISTEN_PID} LISTEN_FDS=${process.env.LISTEN_FDS}, ` +
    `want ${process.pid} and 1`);
  process.exit(1);
}

const generation = process.env.FLIPEXEC_GENERATION || '';
const body = `ok pid=${process.pid} gen=${generation}\n`;
let closing = false;

const server = http.createServer((request, response) => {
  if (request.url.startsWith('/slow')) return setTimeout(() => answer(response), 2000);
  answer(response);
});

function answer(response) {
  const headers = { 'Content-Length': body.length, 'X-Pid': process.pid, 'X-Generation': generation };
  if (closing) headers.Connection = 'close';
  response.writeHead(200, headers);
  response.end(body);
}

server.listen({ fd: 3 }, () => {
  if (!process.env.NOTIFY_SOCKET) return;
  spawn('systemd-notify', ['--ready'], { stdio: 'inherit' }).on('exit', (code, signal) => {
    if (code !== 0) console.error(`server.js: systemd-notify: ${signal || code}`);
  });
});

process.on('SIGTERM', () => {
  closing = true;
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
