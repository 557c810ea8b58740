"""The import rules of docs/architecture.md, checked by parsing the imports of every module."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import blazechat

PACKAGE = Path(blazechat.__file__).parent

LAYERS: dict[str, set[str]] = {
    "vocabulary": set(),
    "errors": set(),
    "config": {"setting_types"},
    "setting_types": {"database_url"},
    "setting_errors": set(),
    "setting_sources": set(),
    "setting_loader": {"config", "database_url", "setting_errors", "setting_sources"},
    "secret_key": {"config", "setting_types"},
    "database_url": set(),
    "data_folder": set(),
    "foreground": set(),
    "listening": set(),
    "open_files": set(),
    "logs": set(),
    "signing": set(),
    "compiled_core": {"setting_sources"},
    "database": {"compiled_core", "config", "database_url", "errors"},
    "database.migrations": {"config", "database", "setting_loader"},
    "media": {"errors"},
    "domain": {"compiled_core", "database", "errors", "media", "signing", "vocabulary"},
    "realtime": {"compiled_core", "domain", "errors", "database", "vocabulary"},
    "api": {"domain", "errors", "database", "config", "media", "vocabulary"},
    "jobs": {"domain", "errors", "database", "media", "signing", "vocabulary"},
    "server": {"config", "secret_key", "database", "media", "domain", "realtime", "api", "jobs"},
    "web": {"config", "logs", "realtime", "api", "server"},
    "direct_protocol": {"api", "realtime"},
    "serve": {"api", "config", "direct_protocol", "realtime"},
    "banner": {"compiled_core", "config", "listening", "python_build"},
    "serve_command": {
        *("banner", "config", "data_folder", "database", "foreground", "listening", "logs", "open_files"),
        *("serve", "server", "web"),
    },
    "python_build": set(),
    "doctor": {
        *("compiled_core", "python_build"),
        *("config", "data_folder", "database", "errors", "media", "open_files", "secret_key"),
        "setting_loader",
    },
    "backup": {"config", "data_folder", "database", "database_url", "errors", "media", "secret_key"},
    "client": {"vocabulary"},
    "terminal": {"client", "signing", "vocabulary"},
    "cli": {
        *(
            "backup",
            "config",
            "data_folder",
            "database",
            "doctor",
            "listening",
            "logs",
            "serve_command",
            "setting_loader",
        ),
        "terminal",
    },
}
"""What each layer may import, beside itself."""

DOMAIN = [
    {"events", "public_events", "validation", "batching", "rate_limits", "schemas"},
    {"auth"},
    {"files"},
    {"messaging"},
    {"chats"},
    {"webhooks"},
    {"accounts"},
    {"integrations"},
]
"""The concepts of `domain/`, from the lowest up. A module imports its own concept and lower ones only."""

FORBIDDEN = {
    "client": {"pydantic", "fastapi", "sqlalchemy", "typer", "textual", "rich"},
    "client.state": {"asyncio", "httpx2", "websockets"},
    "client.chat": {"asyncio", "httpx2", "websockets"},
    "domain": {"fastapi", "starlette", "uvicorn", "websockets"},
    "realtime.wire": {"sqlalchemy", "asyncpg", "fastapi", "starlette"},
    "realtime.hub": {"sqlalchemy", "asyncpg", "fastapi", "starlette", "blazechat.database"},
    "realtime.gap": {"asyncio", "sqlalchemy", "asyncpg", "fastapi", "starlette", "blazechat.database"},
}
"""Libraries and parts that a module must not import."""

MAX_FILE_LINES = 400
PAGE_OF_TABLES = "database/tables.py"
MAX_FUNCTION_LINES = 50


def _imports(path: Path) -> set[str]:
    """The full names that a module imports, those in functions and under TYPE_CHECKING included."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    return imported


def _modules() -> dict[str, set[str]]:
    """Every module of the package, without the package's name, and the full names that it imports."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): _imports(path)
        for path in PACKAGE.rglob("*.py")
    }


def _layer(module: str) -> str | None:
    """The layer of a module of ours, or of a name imported from it."""
    fitting = [layer for layer in LAYERS if module == layer or module.startswith(f"{layer}.")]
    return max(fitting, key=len, default=None)


def test_layers_import_downwards_only() -> None:
    """And api, realtime and jobs never import each other."""
    for name, imported in _modules().items():
        layer = _layer(name)
        if layer is None:
            assert name in ("", "__init__", "__main__"), f"{name} belongs to no layer"
            continue
        for target in imported:
            if not target.startswith("blazechat."):
                continue
            other = _layer(target.removeprefix("blazechat."))
            allowed = other is None or other == layer or other in LAYERS[layer]
            assert allowed, f"{name} must not import {target}"


def _concept(module: str) -> int | None:
    """The rank of a domain module's concept; None for what is not in `domain/`."""
    layer, _, rest = module.partition(".")
    concept = rest.partition(".")[0]
    if layer != "domain" or not concept:
        return None
    ranks = [rank for rank, concepts in enumerate(DOMAIN) if concept in concepts]
    assert ranks, f"{module} belongs to no concept"
    return ranks[0]


def test_concepts_of_the_domain_import_downwards_only() -> None:
    """`domain/` reads as a stack: lower concepts know nothing of higher ones."""
    for name, imported in _modules().items():
        rank = _concept(name)
        for target in imported:
            if rank is None or not target.startswith("blazechat.domain."):
                continue
            other = _concept(target.removeprefix("blazechat."))
            assert other is None or other <= rank, f"{name} must not import {target}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    """However the import is written: in a function and under TYPE_CHECKING as well."""
    modules = _modules()
    graph: dict[str, set[str]] = {}
    for name, imported in modules.items():
        names = {
            target.removeprefix("blazechat.") for target in imported if target.startswith("blazechat.")
        }
        # A name is a module, or something in the module before its last dot.
        graph[name] = {each if each in modules else each.rpartition(".")[0] for each in names} - {name, ""}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_some_modules_know_no_frameworks_and_databases() -> None:
    """The domain knows no framework, wire and hub know no database."""
    for name, imported in _modules().items():
        for part, forbidden in FORBIDDEN.items():
            if name != part and not name.startswith(f"{part}."):
                continue
            for target in imported:
                hits = [bad for bad in forbidden if target == bad or target.startswith(f"{bad}.")]
                assert not hits, f"{name} must not import {target}"


def test_files_stay_small_enough_to_read() -> None:
    """At most 400 lines, except the page of tables; most files have under 250."""
    lengths = {
        path.relative_to(PACKAGE).as_posix(): len(path.read_text().splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    too_long = {path: n for path, n in lengths.items() if n > MAX_FILE_LINES and path != PAGE_OF_TABLES}
    assert not too_long
    assert sum(length > 250 for length in lengths.values()) <= len(lengths) * 0.15


def test_functions_stay_small_enough_to_read() -> None:
    """At most 50 lines, except migrations, which are lists of statements."""
    for path in PACKAGE.rglob("*.py"):
        if "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                lines = node.end_lineno - node.lineno + 1
                assert lines <= MAX_FUNCTION_LINES, f"{path.name}: {node.name} has {lines} lines"
