"""Clients that are generated from the OpenAPI and AsyncAPI documents, by the steps of docs/api.md."""

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blazechat.web import create_app
from tests import npm, pypi
from tests.conftest import NewServer
from tests.harness import Live, Person, settings_for

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "api.md"
PYTHON_PACKAGE = "openapi-python-client==0.29.1"
NPM_PACKAGES = (
    "openapi-fetch@0.17.0",
    "openapi-typescript@7.13.0",
    "typescript@5.9.3",
    "@asyncapi/modelina@5.10.1",
)
UNSUPPORTED_CALLS = ["POST /api/uploads", "PATCH /api/uploads/{media_id}"]
"""Calls that openapi-python-client leaves out, as the page says."""
TSCONFIG = """{"compilerOptions": {
    "strict": true, "target": "es2022", "module": "nodenext", "lib": ["es2022", "dom"], "outDir": "built",
    "skipLibCheck": true
}, "files": ["sample.ts"]}"""


def _operations() -> Iterator[dict[str, Any]]:
    paths = create_app(settings_for("postgresql://nowhere/x")).openapi()["paths"]
    return (operation for methods in paths.values() for operation in methods.values())


def test_operations_have_plain_and_unique_names() -> None:
    """Generators make names of functions from them."""
    names = [operation["operationId"] for operation in _operations()]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[a-z]+(_[a-z]+){0,4}", name), name
        assert not name.endswith(("_get", "_post", "_put", "_delete")), name
    expected = {"log_in", "register", "send_message", "list_chats", "list_conversations", "get_me"}
    assert expected <= set(names)


def test_errors_have_a_type_under_their_media_type() -> None:
    """The only media type of an error is `application/problem+json`, with the schema `Problem`."""
    problem = {"$ref": "#/components/schemas/Problem"}
    for operation in _operations():
        for status, response in operation["responses"].items():
            if status >= "400" and "application/problem+json" in response.get("content", {}):
                assert [each["schema"] for each in response["content"].values()] == [problem]


def _samples(heading: str, server: str) -> dict[str, str]:
    """Return the code blocks of a section by language, for the given server."""
    section = PAGE.read_text().partition(f"\n### {heading}\n")[2].partition("\n##")[0]
    blocks = re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)
    return {language: code.replace("http://127.0.0.1:8000", server) for language, code in blocks}


async def _run(*command: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command that succeeds; return its output."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(60):
            output = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output
    return output


async def _alice(new_server: NewServer) -> tuple[Live, Person]:
    """Start a server with the user and the chat of which the samples know."""
    live = await new_server()
    body = {"username": "alice", "email": "alice@example.com", "password": "wonderland"}
    assert (await live.client().post("/api/auth/register", json=body)).status_code == 201
    alice = await live.log_in("alice", "wonderland")
    assert await alice.group() == 1
    return live, alice


async def test_generated_python_client_logs_in_and_sends(new_server: NewServer, tmp_path: Path) -> None:
    """openapi-python-client accepts all other calls; the sample passes mypy and sends a message."""
    env = await asyncio.to_thread(pypi.installed, tmp_path / "packages", PYTHON_PACKAGE)
    live, alice = await _alice(new_server)
    samples = _samples("Python", live.url)
    (generate,) = [
        line for line in samples["bash"].splitlines() if line.startswith("openapi-python-client")
    ]
    output = await _run(*generate.split(), cwd=tmp_path, env=env)
    assert re.findall(r"parsing (.*?) within", output) == UNSUPPORTED_CALLS, output
    package = tmp_path / "blaze-chat-client"
    (package / "sample.py").write_text(samples["python"])
    mypy = (sys.executable, "-m", "mypy", "--strict", "--no-warn-redundant-casts", "--cache-dir=../cache")
    checked, sent = await asyncio.gather(
        _run(*mypy, "sample.py", cwd=package, env=env),
        _run(sys.executable, "sample.py", cwd=package, env=env),
    )
    assert "no issues found" in checked
    assert sent == "Message 1 is stored.\n"
    assert [message["content"] for message in await alice.history(1)] == ["Hello from Python!"]


async def test_generated_typescript_logs_in_and_sends(new_server: NewServer, tmp_path: Path) -> None:
    """The types of both documents pass `tsc --strict`; the sample sends over `/ws`."""
    await asyncio.to_thread(npm.installed, tmp_path, *NPM_PACKAGES)
    live, alice = await _alice(new_server)
    samples = _samples("TypeScript", live.url)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "tsconfig.json").write_text(TSCONFIG)
    (tmp_path / "frames.mjs").write_text(samples["js"])
    (tmp_path / "sample.ts").write_text(samples["ts"])
    steps = [line.split() for line in samples["bash"].splitlines() if line.startswith(("npx", "node"))]
    assert len(steps) == 2
    await asyncio.gather(*(_run(*step, cwd=tmp_path) for step in steps))
    generated = (tmp_path / "frames.ts").read_text()
    assert not re.findall(r"(?:Reserved|Anonymous)\w+", generated)
    await _run("node_modules/.bin/tsc", cwd=tmp_path)
    output = await _run("node", "--experimental-websocket", "built/sample.js", cwd=tmp_path)
    assert "Message 1 is stored.\n" in output
    assert [message["content"] for message in await alice.history(1)] == ["Hello from TypeScript!"]
