"""URLs of PostgreSQL databases: parsed, built from parts, and named without the password."""

from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlencode

DEFAULT_PORT = "5432"
PARTS = ("host", "port", "database", "user", "password", "parameters")
FORM = "postgresql://user:password@host:5432/database"


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseAddress:
    """The parts of a URL, decoded. An empty part is left to PostgreSQL's defaults (`PGHOST`, …)."""

    host: str = ""
    """A name, an address, or the folder of a Unix socket; several are separated by commas."""
    port: str = ""
    """As many ports as hosts, separated by commas."""
    name: str = ""
    user: str = ""
    password: str = ""
    options: tuple[tuple[str, str], ...] = ()
    """The other parameters, as `sslmode`."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse a URL as libpq and asyncpg do. Raises ValueError with the end of a sentence."""
        scheme, mark, rest = url.partition("://")
        scheme = scheme.partition("+")[0]  # SQLAlchemy writes postgresql+asyncpg://
        if not mark or scheme not in ("postgresql", "postgres"):
            raise ValueError(f"must look like {FORM}")
        address, _, query = rest.partition("?")
        location, _, name = address.partition("/")
        login, _, hosts = location.rpartition("@")
        user, _, password = login.partition(":")
        host, port = _split_hosts(hosts)
        given = dict(parse_qsl(query, keep_blank_values=True))
        return cls(
            host=host or given.pop("host", ""),
            port=port or given.pop("port", ""),
            name=unquote(name) or given.pop("dbname", ""),
            user=unquote(user) or given.pop("user", ""),
            password=unquote(password) or given.pop("password", ""),
            options=tuple(given.items()),
        )

    @property
    def text(self) -> str:
        """The URL, with each part encoded."""
        is_folder = self.host.startswith("/")
        parameters = dict(self.options)
        if is_folder:
            parameters["host"] = self.host
            if self.port:
                parameters["port"] = self.port
        login = quote(self.user, safe="")
        if self.password:
            login += ":" + quote(self.password, safe="")
        query = "?" + urlencode(parameters, quote_via=quote) if parameters else ""
        hosts = "" if is_folder else _join_hosts(self.host, self.port)
        return f"postgresql://{login}{'@' if login else ''}{hosts}/{quote(self.name, safe='')}{query}"

    def __str__(self) -> str:
        """The database in words, without the password."""
        if self.host.startswith("/"):
            place = f"socket in {self.host}"
        else:
            place = f"{self.host or 'local socket'} port {self.port or DEFAULT_PORT}"
        named = [f"database {self.name}"] * bool(self.name) + [f"user {self.user}"] * bool(self.user)
        return f"{place} ({', '.join(named)})" if named else place

    def __repr__(self) -> str:
        return f"<DatabaseAddress {self}>"

    def differing_parts(self, other: Self) -> list[str]:
        """Return the names of the parts that both have, and in which they differ.

        A URL with a host has a port: the default one, if none is written.
        """
        return [
            name
            for name, mine, theirs in zip(PARTS, self._compared(), other._compared(), strict=True)
            if mine and theirs and mine != theirs
        ]

    def _compared(self) -> tuple[object, ...]:
        port = self.port or (DEFAULT_PORT if self.host else "")
        return self.host, port, self.name, self.user, self.password, self.options

    def completed_by(self, other: Self) -> Self:
        """Return this URL with the other's parts where this one has none."""
        return replace(
            self,
            host=self.host or other.host,
            port=self.port or other.port,
            name=self.name or other.name,
            user=self.user or other.user,
            password=self.password or other.password,
            options=self.options or other.options,
        )


def _split_hosts(text: str) -> tuple[str, str]:
    """Split `host:port,host:port` into hosts and ports. Raises ValueError for a port that is no number."""
    hosts, ports = [], []
    for each in text.split(",") if text else []:
        host, colon, port = each.rpartition(":")
        if not colon or each.endswith("]"):
            host, port = each, ""
        if port and not port.isdecimal():
            raise ValueError(
                f"must look like {FORM}; in user and password, write @ : / ? # and % as"
                " %40 %3A %2F %3F %23 and %25"
            )
        hosts.append(unquote(host.removeprefix("[").removesuffix("]")))
        ports.append(port)
    if not any(ports):
        return ",".join(hosts), ""
    return ",".join(hosts), ",".join(port or DEFAULT_PORT for port in ports)


def _join_hosts(hosts: str, ports: str) -> str:
    names = [f"[{host}]" if ":" in host else quote(host, safe="") for host in hosts.split(",")]
    numbers = ports.split(",")
    if len(numbers) != len(names):  # one port for all hosts
        numbers = numbers[:1] * len(names)
    return ",".join(f"{name}:{port}" if port else name for name, port in zip(names, numbers, strict=True))


def merge(named: list[tuple[str, DatabaseAddress]]) -> DatabaseAddress:
    """Merge what several settings say about the one database, each with the setting's name.

    Raises ValueError with a sentence if two of them disagree.
    """
    merged = DatabaseAddress()
    for position, (name, address) in enumerate(named):
        for earlier_name, earlier in named[:position]:
            if differing := earlier.differing_parts(address):
                raise ValueError(
                    f"{earlier_name} and {name} name different databases"
                    f" (another {', another '.join(differing)}). Remove one of them, or make them equal."
                )
        merged = merged.completed_by(address)
    return merged
