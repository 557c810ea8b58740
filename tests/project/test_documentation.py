"""The documentation matches the code: settings, endpoints, error codes, close codes and permissions."""

import re
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from pydantic.fields import FieldInfo

from blazechat.api.pages.markdown import anchor
from blazechat.config import Settings, environment_name
from blazechat.domain.auth.access import ALLOWED_ROLES, GROUP_ONLY_ACTIONS
from blazechat.errors import all_errors
from blazechat.realtime.connection import Close
from blazechat.vocabulary import Role
from blazechat.web import create_app
from tests.harness import settings_for

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _read(name: str) -> str:
    return (ROOT / name).read_text()


def test_every_setting_is_documented() -> None:
    """docs/operations.md and .env.example list exactly the settings, with their descriptions."""
    table, example = _read("docs/operations.md"), _read(".env.example")
    for name, field in Settings.model_fields.items():
        variable = environment_name(name)
        assert f"| `{variable}` |" in table, variable
        assert f"\n# {field.description}\n# {variable}=" in example, (
            f"the description of {variable} differs"
        )
        for choice in _choices(field):
            assert f"`{choice}`" in (field.description or ""), f"{variable} can be {choice}"
        (row,) = [line for line in table.splitlines() if line.startswith(f"| `{variable}` |")]
        assert f"| {field.description} |" in row, f"the description of {variable} differs"
    for variable in re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE):
        assert variable in {environment_name(name) for name in Settings.model_fields}, variable


def _choices(field: FieldInfo) -> tuple[str, ...]:
    if field.annotation is bool:
        return ("true", "false")
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def test_every_endpoint_is_documented() -> None:
    """docs/api.md lists exactly the endpoints of the OpenAPI document, by method and path."""
    paths = create_app(settings_for("postgresql://nowhere/x")).openapi()["paths"]
    existing = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    documented = set(
        re.findall(
            r"^\| `((?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) [^`]+)`", _read("docs/api.md"), re.MULTILINE
        )
    )
    assert documented == existing


def test_every_endpoint_has_a_summary_and_its_errors() -> None:
    """The OpenAPI document describes every endpoint and its problem responses."""
    paths = create_app(settings_for("postgresql://nowhere/x")).openapi()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            if path.startswith("/hooks/"):  # responds as Slack does
                continue
            for status in ("422", "503", "500"):
                content = operation["responses"][status]["content"]
                assert "application/problem+json" in content, (method, path)


def test_every_error_is_documented() -> None:
    """docs/api.md lists every error with its status. Codes are unique, and sentences end with a period."""
    table = _read("docs/api.md")
    codes = [kind.code for kind in all_errors()]
    assert len(set(codes)) == len(codes)
    for kind in all_errors():
        assert f"| `{kind.code}` | {kind.status} |" in table, kind.code
        assert kind.detail.endswith("."), kind.code


def test_every_close_code_is_documented() -> None:
    """docs/protocol.md lists every close code once, and no other page has a table of them."""
    table = _read("docs/protocol.md")
    for code in Close:
        assert table.count(f"\n| {code.value} |") == 1, code
    for page in PAGES:
        assert page.name == "protocol.md" or "| close code |" not in page.read_text(), page.name


@pytest.mark.parametrize("action", list(ALLOWED_ROLES))
def test_permissions_are_documented(action: str) -> None:
    """docs/api.md has the same permissions per action and role as domain/auth/access.py."""
    rows = [line for line in _read("docs/api.md").splitlines() if line.startswith(f"| {action} |")]
    assert len(rows) == 1, action
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")][1:]
    for role, cell in zip((Role.OWNER, Role.ADMIN, Role.MEMBER), cells, strict=False):
        assert (cell == "yes") == (role in ALLOWED_ROLES[action]), (action, role)  # type: ignore[index]
    assert (cells[3] == "–") == (action in GROUP_ONLY_ACTIONS)


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the server make them."""
    used: dict[str, int] = {}
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {anchor(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading), used) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_have_a_target(page: Path) -> None:
    """The files and headings of relative links exist."""
    prose = re.sub(r"`[^`]*`", "", page.read_text())
    for target, fragment in re.findall(r"\]\((?!https?:|mailto:)([^)#]*)(?:#([^)]+))?\)", prose):
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not fragment or fragment in _anchors(file), f"{page.name} links to {target}#{fragment}"


def test_pages_mentioned_in_the_code_exist() -> None:
    """The pages `docs/….md` that docstrings and comments mention exist."""
    for path in (ROOT / "blazechat").rglob("*.py"):
        for mention in re.findall(r"docs/[\w/\-]+\.md", path.read_text()):
            assert (ROOT / mention).exists(), f"{path.name} mentions {mention}"
