"""Compiles the core: `python compile_core.py`. Needs a C compiler, Python's headers, mypy and setuptools.

mypyc translates the modules of the hot path to C, one file per module, which the C compiler builds in
parallel. The result is one library with all modules and a manifest (blazechat/compiled_core.py) in
`blazechat/_compiled/<ABI>/`. If it cannot be built, the manifest has the reason and BlazeChat runs
interpreted. docs/decisions/0011-compiled-core.md describes what may be added to MODULES.
"""

import ast
import contextlib
import io
import json
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from blazechat import compiled_core  # noqa: E402

MODULES = (
    "blazechat.database.arrays",
    "blazechat.domain.messaging.append",
    "blazechat.domain.messaging.chat_heads",
    "blazechat.domain.messaging.fair_queue",
    "blazechat.domain.messaging.fast_append",
    "blazechat.domain.messaging.known_sessions",
    "blazechat.domain.messaging.ledger",
    "blazechat.domain.messaging.sends",
    "blazechat.domain.messaging.unanswered",
    "blazechat.domain.validation",
    "blazechat.realtime.bus",
    "blazechat.realtime.channel",
    "blazechat.realtime.command_reader",
    "blazechat.realtime.commands",
    "blazechat.realtime.connection",
    "blazechat.realtime.frames",
    "blazechat.realtime.gap",
    "blazechat.realtime.hub",
    "blazechat.realtime.send_path",
    "blazechat.realtime.socket",
)
"""The hot path, from a socket's bytes to the statement and back to all sockets."""

MYPY_CONFIGURATION = """
[mypy]
follow_imports = skip
ignore_missing_imports = True
disable_error_code = no-redef
[mypy-blazechat.*]
follow_imports = silent
[mypy-msgspec.*]
follow_imports = silent
"""
"""Types of other packages are not used: reading them takes half a minute, and a build would depend on what
is installed."""
OPTIMISATION = "3"


class CompileError(Exception):
    """The core cannot be compiled; the message is one line."""


def main() -> None:
    """Compile the core for this Python, unless that is done. Print one line; exit with 1 on a failure."""
    build = compiled_core.folder()
    if "--force" not in sys.argv and not compiled_core.refusal(compiled_core.read_manifest(build)):
        return
    print("Compiling the core, once and after changes of it; this takes up to 40 seconds …", flush=True)
    started = time.monotonic()
    try:
        compile_core(build)
    except CompileError as error:
        _write(build, {"failure": str(error)})
        print(f"The core runs interpreted: {error}.", flush=True)
        sys.exit("--require" in sys.argv)
    print(f"The core is compiled ({time.monotonic() - started:.0f} s).", flush=True)


def compile_core(build: Path) -> None:
    """Write library and manifest into the folder `build`. Raises CompileError."""
    _check_tools()
    with tempfile.TemporaryDirectory(prefix="blazechat-core-") as work, contextlib.chdir(ROOT):
        sources = _sources()
        extensions = _translate(Path(work))
        library = _compile(extensions, Path(work))
        name = compiled_core.library_name(library)
        build.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library, build / f"{name}.part")
        (build / f"{name}.part").replace(build / name)
    _write(build, {"failure": "", "library": name, "modules": list(MODULES), "sources": sources})
    for old in build.glob("core-*"):
        if old.name != name:
            with contextlib.suppress(OSError):  # Windows keeps a library that is in use
                old.unlink()


def _write(build: Path, manifest: dict[str, Any]) -> None:
    build.mkdir(parents=True, exist_ok=True)
    part = build / f"{compiled_core.MANIFEST}.part"
    part.write_text(json.dumps(manifest, indent=1) + "\n")
    part.replace(build / compiled_core.MANIFEST)


def _check_tools() -> None:
    if sys.implementation.name != "cpython":
        raise CompileError("mypyc compiles for CPython only")
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if os.name == "posix" and not shutil.which(compiler):
        raise CompileError(f"there is no C compiler ({compiler})")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise CompileError(f"Python's headers are not installed ({sysconfig.get_path('include')}/Python.h)")


def _sources() -> dict[str, str]:
    """Return the digests of the modules and of everything of ours that they import, directly or not.

    mypyc compiles in what it reads there, such as types and the values of constants.
    """
    found: dict[str, str] = {}
    names = set(MODULES)
    while names:
        name = names.pop()
        path = ROOT.joinpath(*name.split("."))
        for source in (path.with_suffix(".py"), path / "__init__.py"):
            if not source.exists():
                continue
            key = source.relative_to(compiled_core.PACKAGE).as_posix()
            if key not in found:
                found[key] = compiled_core.digest_of(source)
                names.update(_imports(source))
    return dict(sorted(found.items()))


def _imports(source: Path) -> Iterator[str]:
    """Yield the names of our modules that a source imports, and names that might be modules."""
    for node in ast.walk(ast.parse(source.read_bytes())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if name.partition(".")[0] == "blazechat")


def _translate(work: Path) -> list[Any]:
    """Translate the modules to C. Return setuptools' extensions: the library, and an entry per module."""
    try:
        import setuptools  # noqa: F401 (before mypyc, which looks for it)
        from mypyc.build import mypycify
    except ImportError as error:
        raise CompileError(f"{error.name} is not installed") from None
    configuration = work / "mypy.ini"
    configuration.write_text(MYPY_CONFIGURATION)
    paths = [f"{module.replace('.', '/')}.py" for module in MODULES]
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            extensions = mypycify(
                [f"--config-file={configuration}", *paths],
                opt_level=OPTIMISATION,
                debug_level="0",
                multi_file=True,
                group_name=compiled_core.LIBRARY.removesuffix("__mypyc"),
                target_dir=str(work / "c"),
            )
    except SystemExit:
        raise CompileError(f"mypyc: {output.getvalue().splitlines()[0]}") from None
    return extensions


def _compile(extensions: Iterable[Any], work: Path) -> Path:
    """Compile all C files in parallel, link them into one library, and return it."""
    from setuptools._distutils import ccompiler, errors
    from setuptools._distutils import sysconfig as build_configuration

    def compiler() -> Any:
        new = ccompiler.new_compiler()
        build_configuration.customize_compiler(new)
        return new

    def compile_file(extension: Any, source: str) -> str:
        # Each module's entry also defines PyInit___init__, and one library can have one only.
        renamed = f"PyInit___init___{Path(source).stem}"
        options = [option for option in extension.extra_compile_args if option != "-Werror"]
        return compiler().compile(
            [source],
            output_dir=str(work / "objects"),
            macros=[("PyInit___init__", renamed)],
            include_dirs=[*extension.include_dirs, sysconfig.get_path("include")],
            extra_postargs=options,
        )[0]

    jobs = [(extension, source) for extension in extensions for source in extension.sources]
    library = work / "library"
    log = work / "log"
    try:
        with _redirected(log), ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(lambda job: compile_file(*job), jobs))
            compiler().link_shared_object(sorted(objects), str(library))
    except (errors.CCompilerError, errors.DistutilsError, OSError) as error:
        lines = [line for line in log.read_text(errors="replace").splitlines() if "error" in line]
        raise CompileError(f"the C compiler failed: {(lines or [str(error)])[0][:200]}") from None
    return library


@contextlib.contextmanager
def _redirected(log: Path) -> Iterator[None]:
    """Write what compilers print to a file, not to the terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


if __name__ == "__main__":
    main()
