// A room on `ws`: each message goes to all sockets of its room, the sender included. Stores nothing.
// The path of a socket names its room. Prints the port.
import { createRequire } from "node:module";

const { WebSocketServer, WebSocket } = createRequire(`${process.argv[2]}/`)("ws");
const rooms = new Map();
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[3]), backlog: 2048 });

server.on("connection", (socket, request) => {
  const room = rooms.get(request.url) ?? new Set();
  rooms.set(request.url, room.add(socket));
  socket.on("message", (data) => {
    for (const member of room) {
      if (member.readyState === WebSocket.OPEN) {
        member.send(data, { binary: false });
      }
    }
  });
  socket.on("close", () => room.delete(socket));
});
