"""The compiled core: all of its modules are used or none, and only with the sources of their build."""

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import compile_core
from blazechat import compiled_core
from blazechat.client import Client
from tests.harness import PASSWORD
from tests.processes import child

ROOT = Path(__file__).parent.parent.parent
IS_COMPILED = not compiled_core.refusal(compiled_core.read_manifest(compiled_core.folder()))
needs_compiled_core = pytest.mark.skipif(
    not IS_COMPILED and os.environ.get(compiled_core.VARIABLE) != "compiled",
    reason="make test-compiled runs it",
)
REPORT = """
import importlib, json, sys
sys.path.insert(0, ".")
import compile_core
from blazechat import compiled_core
files = [importlib.import_module(name).__file__ for name in compile_core.MODULES]
core = compiled_core.install()
print(json.dumps({"is_compiled": core.is_compiled, "reason": core.reason,
    "compiled": sum(not file.endswith(".py") for file in files), "modules": len(files)}))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the package, with its compiled core if there is one."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "blazechat", tmp_path / "blazechat", ignore=ignored)
    for name in ("compile_core.py", "constraints.txt", "pyproject.toml", "hatch_build.py"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def _run(checkout: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if name != compiled_core.VARIABLE}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env=inherited | environment,
        text=True,
        capture_output=True,
        check=False,
    )


def _core(checkout: Path, **environment: str) -> tuple[bool, str]:
    """Import all modules of the core in a new process; return whether they are compiled, and why not."""
    done = _run(checkout, "-c", REPORT, **environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["compiled"] == (report["modules"] if report["is_compiled"] else 0), "a mixture"
    return report["is_compiled"], report["reason"]


@needs_compiled_core
def test_all_modules_of_the_core_are_compiled(checkout: Path) -> None:
    assert _core(checkout) == (True, "")
    assert _core(checkout, BLAZECHAT_CORE="compiled") == (True, "")


def test_core_can_be_interpreted(checkout: Path) -> None:
    """By the environment, and by `.env`."""
    assert _core(checkout, BLAZECHAT_CORE="interpreted") == (False, "BLAZECHAT_CORE=interpreted")
    (checkout / ".env").write_text("BLAZECHAT_CORE=interpreted\n")
    assert _core(checkout) == (False, "BLAZECHAT_CORE=interpreted")


@needs_compiled_core
@pytest.mark.parametrize("edited", ["domain/validation.py", "errors.py"])
def test_library_of_earlier_sources_is_not_used(checkout: Path, edited: str) -> None:
    """Neither after an edit of a compiled module, nor after one of a module that it imports."""
    with (checkout / "blazechat" / edited).open("a") as source:
        source.write("\n")
    is_compiled, reason = _core(checkout)
    assert not is_compiled
    assert f"{edited} has changed since it was compiled" in reason


@needs_compiled_core
def test_damaged_library_is_not_used(checkout: Path) -> None:
    (library,) = (checkout / "blazechat" / "_compiled").rglob("core-*")
    library.write_bytes(library.read_bytes()[:1000])
    is_compiled, reason = _core(checkout)
    assert not is_compiled
    assert "the library is damaged" in reason


def test_required_core_that_is_missing_is_an_error(checkout: Path) -> None:
    """The command ends with a sentence."""
    shutil.rmtree(checkout / "blazechat" / "_compiled", ignore_errors=True)
    assert _core(checkout)[0] is False
    done = _run(checkout, "-m", "blazechat", "doctor", BLAZECHAT_CORE="compiled")
    assert done.returncode == 1
    assert done.stderr.startswith("blazechat: BLAZECHAT_CORE=compiled, but ")
    assert len(done.stderr.splitlines()) == 1


def test_sdk_does_not_look_for_the_core(checkout: Path) -> None:
    statement = "import sys, blazechat.client; sys.exit('blazechat.compiled_core' in sys.modules)"
    assert _run(checkout, "-c", statement, BLAZECHAT_CORE="compiled").returncode == 0


def test_failed_compilation_is_one_line(checkout: Path) -> None:
    """The interpreted core runs, and knows the reason. `make compile` ends with an error."""
    done = _run(checkout, "compile_core.py", "--force", CC="no-such-compiler")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] == [
        "The core runs interpreted: there is no C compiler (no-such-compiler)."
    ]
    assert _core(checkout) == (False, "there is no C compiler (no-such-compiler)")
    assert _run(checkout, "compile_core.py", "--require", CC="no-such-compiler").returncode == 1


def test_compiled_modules_use_nothing_that_mypyc_ignores() -> None:
    """It ignores options of a class statement, as msgspec's have, and `slots=True` of a dataclass."""
    for module in compile_core.MODULES:
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                assert not node.keywords, f"{module}.{node.name}: move it to a module that is not compiled"
                for decorator in node.decorator_list:
                    options = decorator.keywords if isinstance(decorator, ast.Call) else []
                    assert "slots" not in {option.arg for option in options}, f"{module}.{node.name}"


def test_compiled_coroutines_wait_for_nothing_while_they_handle_an_exception() -> None:
    """mypyc keeps the handled exception in the thread, not in the coroutine: another coroutine that runs
    meanwhile replaces it, and the wrong exception is raised. So there is no `await` in `except` and
    `finally`, and no `async with`, whose end awaits."""
    for module in compile_core.MODULES:
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
        for node in ast.walk(tree):
            assert not isinstance(node, ast.AsyncWith | ast.AsyncFor), f"{module}:{node.lineno}"
            if isinstance(node, ast.Try):
                handling = [*node.finalbody, *(each for h in node.handlers for each in h.body)]
                for each in (inner for statement in handling for inner in ast.walk(statement)):
                    assert not isinstance(each, ast.Await | ast.Yield), f"{module}:{each.lineno}"


def test_compiled_modules_have_names_of_their_own() -> None:
    """They share one library, in which the last part of a module's name has to be unique."""
    names = [module.rpartition(".")[2] for module in compile_core.MODULES]
    assert len(names) == len(set(names))


@needs_compiled_core
async def test_wheel_has_the_compiled_core(tmp_path: Path, open_folder: Path) -> None:
    """A server from the wheel runs it, and stores a message."""
    packages = tmp_path / "packages"
    zipfile.ZipFile(_wheel(tmp_path)).extractall(packages)
    (library,) = (packages / "blazechat" / "_compiled").rglob("core-*")
    assert library.parent.name == compiled_core.folder().name
    with child(
        *(
            sys.executable,
            "-m",
            "blazechat",
            "serve",
            "--port",
            "0",
            "--data-dir",
            str(open_folder / "data"),
        ),
        cwd=packages,
        env=os.environ | {"BLAZECHAT_CORE": "compiled", "BLAZECHAT_BCRYPT_ROUNDS": "4"},
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdout is not None
        lines = iter(server.stdout.readline, "")
        url = next(line.split()[-1] for line in lines if line.startswith("  listening"))
        assert next(line for line in lines if line.startswith("  core")).split()[1] == "compiled"
        async with Client(url) as client:
            await client.register("alice", "alice@example.com", PASSWORD)
            chat = await client.chats.create_group("all")
            assert await client.send(chat.id, "Hello") == 1
        server.terminate()
        server.communicate()


def _wheel(folder: Path) -> Path:
    """Build the wheel of this checkout as pip does: with nothing but the declared requirements."""
    uv = shutil.which("uv")
    if uv is not None:
        command = [uv, "build", "--quiet", "--wheel", "--python", sys.executable, "--out-dir", str(folder)]
    else:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, env=os.environ | {"BLAZECHAT_COMPILE": "1"})
    (wheel,) = folder.glob("*.whl")
    return wheel
