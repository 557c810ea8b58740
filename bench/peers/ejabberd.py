"""ejabberd with its archive (mod_mam) in PostgreSQL: chats of two, rooms (mod_muc), pages of the archive.

Its database is a second embedded PostgreSQL with the same settings as ours.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil

from bench.cpu import CpuClock
from bench.peers import peer
from bench.peers.peer import HISTORY_MESSAGES, PAGE, Clients
from bench.peers.peer_socket import Dialect, PeerSocket, Step, content, log_in, own_mark
from bench.peers.work import Requests
from blazechat.database.embedded import EmbeddedPostgres
from blazechat.database.embedded_files import DATABASE, ROLE, server_folder

USERS = 1_001
FILL_SECONDS = 0.5
PASSWORD = "secret"  # noqa: S105 (of accounts that exist during the run)
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
ERLANG_LIBRARIES = Path("/usr/lib/erlang/lib")
SCHEMA = Path("/usr/share/ejabberd/sql/pg.sql")
ACCOUNTS = """
INSERT INTO users (username, password) SELECT 'user' || n, $1 FROM generate_series(1, $2::int) n
"""
CONFIGURATION = """
loglevel: error
hosts: [localhost]
listen:
  - {{port: {port}, ip: 127.0.0.1, module: ejabberd_c2s, max_stanza_size: 262144, backlog: 2048}}
auth_method: sql
auth_password_format: plain
default_db: sql
sql_type: pgsql
sql_server: 127.0.0.1
sql_port: {sql_port}
sql_database: {database}
sql_username: {role}
sql_pool_size: 10
modules:
  mod_disco: {{}}
  mod_roster: {{}}
  mod_stream_mgmt: {{}}
  mod_mam: {{default: always, cache_size: 10000}}
  mod_muc:
    min_message_interval: 0
    max_users: 5000
    max_user_conferences: 100
    history_size: 0
    default_room_options: {{mam: true, max_users: 5000, presence_broadcast: []}}
"""
"""No shaper on connections; rooms of 5,000 users, without presences of all users to all others."""
BIND = (
    b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
    b"<resource>r</resource></bind></iq>"
)
STREAM = (
    b"<stream:stream to='localhost' version='1.0' xmlns='jabber:client'"
    b" xmlns:stream='http://etherx.jabber.org/streams'>"
)
PAGES = Dialect(ack=b"<fin ")
STREAM_MANAGEMENT = "<enable xmlns='urn:xmpp:sm:3'/>"
MAM_QUERY = (
    "<iq type='set' id='q' to='{to}'><query xmlns='urn:xmpp:mam:2'>"
    f"<set xmlns='http://jabber.org/protocol/rsm'><max>{PAGE}</max><before/></set></query></iq>"
)


class Ejabberd:
    """One server with as many accounts as the largest room needs."""

    name = "ejabberd"
    is_durable = True

    def __init__(self, port: int, clocks: dict[str, CpuClock]) -> None:
        self.clocks = clocks
        self._port = port
        self._rooms = 0

    async def open_pairs(self, count: int) -> Clients:
        opened = [self._open_pair(user, user % count + 1) for user in range(1, count + 1)]
        return Clients(await asyncio.gather(*opened), 1)

    async def open_room(self, count: int) -> Clients:
        self._rooms += 1
        room = f"room{self._rooms}@conference.localhost"  # the first member creates it
        return Clients([await self._open_member(user, room) for user in range(1, count + 1)], count)

    async def open_history(self, count: int) -> Clients:
        """Fill a room, whose members then query its archive."""
        clients = await self.open_room(count)
        filling = Requests(clients)
        stored = 0
        while stored < HISTORY_MESSAGES:
            stored += (await filling.run(FILL_SECONDS)).count
        query = MAM_QUERY.format(to=f"room{self._rooms}@conference.localhost").encode()
        for socket in clients.sockets:
            socket.use(PAGES, query)
        return Clients(clients.sockets, PAGE)

    async def _open_pair(self, user: int, partner: int) -> PeerSocket:
        """The request asks for an acknowledgement (XEP-0198), which the server sends after storing."""
        request = _message(f"user{partner}@localhost", "chat", user) + b"<r xmlns='urn:xmpp:sm:3'/>"
        client = PeerSocket(Dialect(ack=b"<a h="), request)
        steps = [*_log_in_steps(user), (STREAM_MANAGEMENT.encode(), b"<enabled")]
        await log_in(self._port, client, steps)
        return client

    async def _open_member(self, user: int, room: str) -> PeerSocket:
        request = _message(room, "groupchat", user)
        client = PeerSocket(Dialect(ack=own_mark(f"user{user}")), request)
        join = f"<presence to='{room}/user{user}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
        await log_in(self._port, client, [*_log_in_steps(user), (join.encode(), b"<subject")])
        return client


def _message(to: str, kind: str, user: int) -> bytes:
    return (
        f"<message to='{to}' type='{kind}' id='m'><body>{content(f'user{user}')}</body></message>".encode()
    )


def _log_in_steps(user: int) -> list[Step]:
    plain = base64.b64encode(f"\0user{user}\0{PASSWORD}".encode()).decode()
    auth = f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"
    return [
        (STREAM, b"</stream:features>"),
        (auth.encode(), b"<success"),
        (STREAM, b"</stream:features>"),
        (BIND, b"</iq>"),
        (b"<presence/>", b"<presence"),
    ]


@asynccontextmanager
async def serve() -> AsyncIterator[Ejabberd]:
    """Run ejabberd and its database until the end of the block. Raises NotInstalled."""
    erlang = _find_erlang()
    port, sql_port = peer.free_port(), peer.free_port()
    with peer.temporary_folder("ejabberd") as folder, peer.temporary_folder("postgres") as data:
        async with _database(data, sql_port) as database_clock:
            environment = _configure(folder, port, sql_port)
            command = [erlang, "+K", "true", "+P", "250000", "-noinput"]
            command += ["-mnesia", "dir", f'"{folder}/mnesia"', "-s", "ejabberd"]
            async with peer.running(command, port, folder, environment=environment) as clock:
                yield Ejabberd(port, {"ejabberd": clock, "PostgreSQL": database_clock})


def _find_erlang() -> str:
    """Return the path of Erlang's runtime. Raises NotInstalled."""
    if not SCHEMA.exists() or not any(LIBRARIES.glob("ejabberd-*")):
        raise peer.NotInstalled("install the package ejabberd (Debian)")
    if not any(ERLANG_LIBRARIES.glob("p1_pgsql-*")):
        raise peer.NotInstalled("install the package erlang-p1-pgsql (Debian)")
    return peer.program("erl", "erlang-base (Debian)")


def _configure(folder: Path, port: int, sql_port: int) -> dict[str, str]:
    """Write the configuration; return the environment in which ejabberd finds it."""
    configuration = folder / "ejabberd.yml"
    configuration.write_text(
        CONFIGURATION.format(port=port, sql_port=sql_port, database=DATABASE, role=ROLE)
    )
    return {
        "ERL_LIBS": str(LIBRARIES),
        "EJABBERD_CONFIG_PATH": str(configuration),
        "EJABBERD_LOG_PATH": str(folder / "ejabberd.log"),
        "ERL_MAX_PORTS": "32000",
    }


@asynccontextmanager
async def _database(folder: Path, port: int) -> AsyncIterator[CpuClock]:
    """Run a PostgreSQL with ejabberd's tables and accounts, on a port of loopback: ejabberd's driver knows
    no Unix sockets."""
    postgres = EmbeddedPostgres(folder, f"listen_addresses=127.0.0.1 port={port}")
    await asyncio.to_thread(postgres.start)
    try:
        connection = await asyncpg.connect(postgres.dsn, port=port)
        try:
            await connection.execute(_permit_loopback(folder))
            await connection.execute(_schema())
            await connection.execute(ACCOUNTS, PASSWORD, USERS)
        finally:
            await connection.close()
        yield CpuClock(psutil.Process(postgres.pid), children=True)
    finally:
        await asyncio.to_thread(postgres.stop)


def _permit_loopback(folder: Path) -> str:
    """Let all accounts connect over loopback; return the statement by which the server notices."""
    rules = server_folder(folder) / "cluster" / "pg_hba.conf"
    rules.write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n")
    return "SELECT pg_reload_conf()"


def _schema() -> str:
    return SCHEMA.read_text()
