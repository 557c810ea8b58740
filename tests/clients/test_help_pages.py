"""`blazechat --help` and the help of every command: complete, in sentences, and as wide as a terminal."""

import re
from pathlib import Path

import pytest
from typer.core import TyperGroup, TyperOption
from typer.main import get_command

from blazechat.cli import app
from blazechat.config import Settings
from blazechat.terminal.cli import errors
from blazechat.terminal.cli.help_pages import summary_of
from tests.clients.test_scripting import blazechat

ROOT = Path(__file__).parent.parent.parent


def _commands() -> dict[str, str]:
    """Return the help page of each command, by what follows `blazechat`."""
    pages: dict[str, str] = {}

    def collect(command: object, words: list[str], parent: object) -> None:
        context = command.make_context(  # type: ignore[attr-defined]
            words[-1], [], parent, resilient_parsing=True
        )
        pages[" ".join(words[1:])] = context.get_help()
        if isinstance(command, TyperGroup):
            for name, subcommand in command.commands.items():
                collect(subcommand, [*words, name], context)

    collect(get_command(app), ["blazechat"], None)
    return pages


PAGES = _commands()


def test_root_page_lists_the_commands_of_people_scripts_and_operators() -> None:
    """Each with a summary on one line, in this order; then options, examples, exit codes and variables."""
    page = PAGES[""]
    sections = re.findall(r"^([A-Z][\w ]+):$", page, re.MULTILINE)
    assert sections == [
        *("For people", "For scripts", "For operators"),
        *("Options", "Examples", "Exit codes", "Environment"),
    ]
    for name in {words.partition(" ")[0] for words in PAGES} - {""}:
        assert len(re.findall(rf"^  {name} +\S.*\.$", page, re.MULTILINE)) == 1, name
    groups = page.partition("For scripts:")[2].partition("For operators:")
    assert {"send", "tail", "chats", "dm", "new", "members"} <= set(
        re.findall(r"^  (\w+) ", groups[0], re.MULTILINE)
    )
    assert {"serve", "migrate", "doctor"} <= set(re.findall(r"^  (\w+) ", groups[2], re.MULTILINE))


@pytest.mark.parametrize("command", PAGES)
def test_help_page_reads_as_written_by_hand(command: str) -> None:
    """At most 80 columns wide, full sentences, examples, and no placeholder of the library."""
    page = PAGES[command]
    for line in page.splitlines():
        assert len(line) <= 80, line
        assert line == line.rstrip(), line
    for stub in ("[OPTIONS]", "[ARGS]", "<str>", "<bool>", "{", "[[", "default:", "│", "Show this message"):
        assert stub not in page, stub
    if not command.endswith("webhooks"):
        examples = page.partition("\nExamples:\n")[2].partition("\n\n")[0].splitlines()
        assert examples, "no examples"
        assert all(f"blazechat {command}".rstrip() in line for line in examples), examples


def test_every_parameter_has_a_sentence_and_a_placeholder() -> None:
    """Sentences end with one full stop. An option that takes a value names it."""

    def check(command: object) -> None:
        assert summary_of(command.help).endswith("."), command  # type: ignore[attr-defined]
        for parameter in command.params:  # type: ignore[attr-defined]
            assert re.fullmatch(r"[A-Z].*[^.]\.", parameter.help), parameter
            if isinstance(parameter, TyperOption):
                assert bool(parameter.metavar) != parameter.is_flag, parameter
        for subcommand in getattr(command, "commands", {}).values():
            check(subcommand)

    check(get_command(app))


def test_defaults_of_the_server_are_those_of_the_settings() -> None:
    """`serve --help` names the variable and the default of each setting."""
    text = " ".join(PAGES["serve"].split())
    for name in ("host", "port", "data_dir"):
        default = Settings.model_fields[name].default
        shown = f"./{default}" if name == "data_dir" else default
        assert f"Default: BLAZECHAT_{name.upper()}, else {shown}." in text


def test_exit_codes_are_documented() -> None:
    """The root page and docs/terminal.md have each exit code of cli/errors.py."""
    codes = {getattr(errors, name) for name in dir(errors) if name.startswith("EXIT_")} | {0}
    section = PAGES[""].partition("Exit codes:\n")[2].partition("\n\n")[0]
    assert {int(code) for code in re.findall(r"^  (\d+) ", section, re.MULTILINE)} == codes
    table = (ROOT / "docs/terminal.md").read_text().partition("| exit code |")[2]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == codes


def test_commands_and_options_for_scripts_are_documented() -> None:
    """docs/terminal.md names each of them, and no other."""
    section = (ROOT / "docs/terminal.md").read_text().partition("## Commands for scripts")[2]
    operators = {"serve", "migrate", "doctor", "backup", "restore"}
    existing = {words for words in PAGES if words and words not in operators | {"webhooks"}}
    named = set(re.findall(r"`blazechat ((?:webhooks )?[a-z]+)", section))
    assert existing - {"chat"} <= named <= set(PAGES)
    for command in existing - {"chat"}:
        for option in re.findall(r"(--[a-z-]+)", PAGES[command].partition("\nOptions:\n")[2]):
            assert option in section or option == "--help", (command, option)


async def test_usage_errors_are_sentences(tmp_path: Path) -> None:
    """They say what to write, show the usage and where the help is. The exit code is 2."""
    cases = {
        ("send",): "blazechat: CHAT is missing.",
        ("sned",): "blazechat: no such command 'sned'. Did you mean 'send'?",
        ("tail", "1", "-n", "-1"): "blazechat: --lines: write a whole number of at least 0.",
        ("serve", "--port", "x"): "blazechat: --port: write a whole number from 0 to 65535.",
        ("send", "1", "--reply", "2"): "blazechat: there is no option --reply. Did you mean --reply-to?",
        ("send", "1", "-f", "nosuch"): "blazechat: --file: file 'nosuch' does not exist.",
        ("new", "x", "--history", "y"): "blazechat: --history: write all or joined.",
        ("tail", "a", "b"): "blazechat: too many arguments: b. Put a name with spaces in quotes.",
    }
    for arguments, sentence in cases.items():
        done = await blazechat(tmp_path, *arguments)
        first, usage, where = done.err.splitlines()
        assert (done.code, done.out, first) == (2, "", sentence)
        assert usage.startswith("Usage: blazechat ")
        assert re.fullmatch(r"Help: blazechat( \w+)? --help", where)
    bare = await blazechat(tmp_path)
    assert (bare.code, bare.err.rstrip()) == (2, PAGES[""].rstrip())
    assert (await blazechat(tmp_path, "tail", "-h")).out.rstrip() == PAGES["tail"].rstrip()
