// A room on `socket.io`: each "message" goes to all sockets of its room, the sender included. Stores nothing.
// A socket joins the room that it names with "join".
import { createServer } from "node:http";
import { createRequire } from "node:module";

const { Server } = createRequire(`${process.argv[2]}/`)("socket.io");
const http = createServer();
const server = new Server(http, { transports: ["websocket"], pingInterval: 600_000, serveClient: false });

server.on("connection", (socket) => {
  socket.on("join", (room) => {
    socket.join(room);
    socket.emit("joined");
  });
  socket.on("message", (room, text) => server.to(room).emit("message", text));
});
http.listen({ host: "127.0.0.1", port: Number(process.argv[3]), backlog: 2048 });
