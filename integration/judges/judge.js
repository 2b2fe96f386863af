// What Node code finds that reads the protocol by hand, as judge.c does: node judge.js REPORT
//
// It listens on what Node can listen on, says READY=1 and stays.
'use strict';
const dgram = require('dgram');
const fs = require('fs');
const net = require('net');
const { spawn } = require('child_process');

const env = process.env;
const count = Number(env.LISTEN_PID) === process.pid ? Number(env.LISTEN_FDS) : 0;
const names = (env.LISTEN_FDNAMES ?? '').split(':');
const servers = []; // which a garbage collector would close

// listen resolves to the kind and the address of a socket, where Node tells them.
function listen(fd) {
  const stat = fs.fstatSync(fd);
  if (stat.isFIFO()) return 'fifo -';
  if (!stat.isSocket()) return 'special -';
  return new Promise((resolve) => {
    const server = new net.Server();
    servers.push(server);
    server.on('error', () => resolve(bind(fd)));
    server.listen({ fd }, () => resolve(server.address() ? `tcp ${host(server.address())}` : 'unix -'));
  });
}

function bind(fd) {
  return new Promise((resolve) => {
    const socket = dgram.createSocket('udp6');
    servers.push(socket);
    socket.on('error', () => resolve('- -'));
    socket.bind({ fd }, () => resolve(`udp ${host(socket.address())}`)); // or it throws
  }).catch(() => '- -');
}

function host({ family, address, port }) {
  return family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`;
}

async function main() {
  const lines = [count];
  for (let i = 0; i < count; i++) lines.push(`${3 + i} ${await listen(3 + i)} ${names[i]}`);
  fs.writeFileSync(`${process.argv[2]}-${env.FLIPEXEC_GENERATION ?? 0}-node`, lines.join('\n') + '\n');
  setInterval(() => {}, 1 << 30); // for who was passed nothing that it could wait for
  spawn('systemd-notify', ['--ready'], { stdio: 'inherit' });
}

main();
