"""Chooses between the compiled and the interpreted core: the modules of the hot path, for a whole process.

`compile_core.py` compiles these modules into one library and writes a manifest beside it: the SHA-256 of
every source that the compiled code depends on. `install()` compares the manifest with the sources of this
package. If all are the same, Python imports the compiled modules, otherwise the sources. It never imports a
mixture: compiled modules call each other directly and have each other's object layouts compiled in.

The packages that contain such modules call `install()` when they are imported. The SDK and the terminal app
import none of them and pay nothing.
"""

import json
import os
import sys
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

VARIABLE = "BLAZECHAT_CORE"
"""`auto`, `compiled` or `interpreted` (config.py has the setting)."""
LIBRARY = "blazechat_core__mypyc"
"""The module of the library that initialises all others."""
PACKAGE = Path(__file__).parent
MANIFEST = "manifest.json"
HOW_TO_COMPILE = "`make compile` in a checkout compiles it"


class CoreError(ImportError):
    """BLAZECHAT_CORE requires the compiled core, and none fits. The message says why."""


class Core(NamedTuple):
    """The core of this process."""

    is_compiled: bool
    reason: str
    """Why it is interpreted; empty if it is compiled."""

    def __str__(self) -> str:
        return "compiled" if self.is_compiled else f"interpreted: {self.reason}"


def folder(package: Path = PACKAGE) -> Path:
    """Return the folder of the library for this Python; those for other versions are beside it."""
    abi = EXTENSION_SUFFIXES[0].removeprefix(".").rpartition(".")[0] or sys.implementation.cache_tag
    return package / "_compiled" / str(abi)


@cache
def install() -> Core:
    """Choose the core, before any of its modules is imported. Return the choice, which is final.

    Raises CoreError.
    """
    wanted = _wanted()
    if wanted == "interpreted":
        return Core(False, f"{VARIABLE}=interpreted")
    manifest = read_manifest(folder())
    reason = refusal(manifest)
    if not reason:
        reason = _load_library(folder() / manifest["library"], manifest["modules"])
    if reason and wanted == "compiled":
        raise CoreError(f"{VARIABLE}=compiled, but the core cannot be used compiled: {reason}")
    return Core(not reason, reason)


def read_manifest(build: Path) -> dict[str, Any]:
    """Return the manifest of a build, `{}` if there is none."""
    try:
        manifest: dict[str, Any] = json.loads((build / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return {}
    return manifest


def refusal(manifest: dict[str, Any], package: Path = PACKAGE) -> str:
    """Return why a build cannot be used with the sources in `package`; empty if it can."""
    if not manifest:
        return f"it is not compiled for this Python; {HOW_TO_COMPILE}"
    if manifest["failure"]:
        return str(manifest["failure"])
    for name, digest in manifest["sources"].items():
        if digest_of(package / name) != digest:
            return f"{name} has changed since it was compiled; {HOW_TO_COMPILE}"
    return ""


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file; empty if it cannot be read."""
    try:
        return sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""


def library_name(library: Path) -> str:
    """Return the name of a library with this content."""
    return f"core-{digest_of(library)[:16]}{EXTENSION_SUFFIXES[0]}"


def _wanted() -> str:
    from blazechat.setting_sources import given_settings

    try:
        given = [each.value for each in given_settings() if each.name == VARIABLE]
    except (OSError, ValueError):  # setting_loader.py reports it
        return os.environ.get(VARIABLE, "auto")
    return given[0] if given else "auto"


def _load_library(library: Path, modules: Sequence[str]) -> str:
    """Make Python import `modules` from the library. Return why not; empty if it succeeds."""
    if imported := sorted(sys.modules.keys() & set(modules)):
        return f"{imported[0]} was imported before the core was chosen"
    if library.name != library_name(library):
        return "the library is damaged"  # loading a truncated one would end the process
    try:
        spec = _spec(LIBRARY, library)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    except (ImportError, OSError) as error:
        return f"the library cannot be loaded: {error}"
    sys.modules[LIBRARY] = module
    sys.meta_path.insert(0, _CoreFinder(library, modules))
    return ""


def _spec(name: str, library: Path) -> ModuleSpec:
    spec = spec_from_file_location(name, library, loader=ExtensionFileLoader(name, str(library)))
    assert spec is not None
    return spec


class _CoreFinder(MetaPathFinder):
    """Finds all modules of the core in one library."""

    def __init__(self, library: Path, modules: Sequence[str]) -> None:
        self._library = library
        self._modules = frozenset(modules)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return _spec(fullname, self._library) if fullname in self._modules else None
