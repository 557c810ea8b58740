"""The import rule of docs/architecture.md, held by parsing the imports."""

import ast
from pathlib import Path

import blazechat

PACKAGE = Path(blazechat.__file__).parent

LAYERS: dict[str, set[str]] = {
    "vocabulary": set(),
    "errors": set(),
    "setting_types": set(),
    "config": {"setting_types"},
    "secret_key": {"config", "setting_types"},
    "logs": set(),
    "signing": set(),
    "database": {"config", "errors"},
    "media": {"errors"},
    "domain": {"database", "errors", "media", "signing", "vocabulary"},
    "realtime": {"domain", "errors", "database", "vocabulary"},
    "api": {"domain", "errors", "database", "config", "media", "vocabulary"},
    "jobs": {"domain", "errors", "database", "media", "signing", "vocabulary"},
    "server": {
        "config",
        "logs",
        "database",
        "media",
        "domain",
        "errors",
        "realtime",
        "api",
        "jobs",
        "secret_key",
    },
    "doctor": {"config", "database", "errors", "media", "secret_key"},
    "client": {"vocabulary"},
    "terminal": {"client", "signing", "vocabulary"},
    "cli": {"config", "logs", "database", "server", "doctor", "terminal"},
}
"""What each part may import of the others; itself it may always."""

FORBIDDEN = {
    "client": {"pydantic", "fastapi", "sqlalchemy", "typer", "textual", "rich"},
    "client.state": {"asyncio", "httpx2", "websockets"},
    "client.chat": {"asyncio", "httpx2", "websockets"},
    "domain": {"fastapi", "starlette", "uvicorn", "websockets"},
    "realtime.wire": {"sqlalchemy", "asyncpg", "fastapi", "starlette"},
    "realtime.hub": {"sqlalchemy", "asyncpg", "fastapi", "starlette", "blazechat.database"},
}
"""Libraries and parts that a module has to do without."""


def _modules() -> dict[str, set[str]]:
    """Every module of the package, without its prefix, and all that it imports."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        imported: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: relative import"
                assert node.module is not None
                imported |= {f"{node.module}.{alias.name}" for alias in node.names}
        found[name] = imported
    return found


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


def test_some_modules_do_without_frameworks_and_databases() -> None:
    """The domain knows no framework, wire and hub know no database."""
    for name, imported in _modules().items():
        for part, forbidden in FORBIDDEN.items():
            if name != part and not name.startswith(f"{part}."):
                continue
            for target in imported:
                hits = [bad for bad in forbidden if target == bad or target.startswith(f"{bad}.")]
                assert not hits, f"{name} must not import {target}"


def test_files_stay_small_enough_to_read() -> None:
    """The house style asks for most files under 250 lines; none is beyond all measure."""
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    long = [path for path, length in lengths.items() if length > 250]
    assert len(long) <= len(lengths) * 0.15, long
    assert max(lengths.values()) < 550
