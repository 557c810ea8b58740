"""Help pages: plain text, made from docstrings of commands and help texts of parameters.

The first sentence of a docstring is the command's summary in the list of commands. Its paragraphs are
filled. A block with a heading and indented lines, such as examples, is printed as it stands, at the end.
"""

import inspect
import shutil
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

FOR_PEOPLE, FOR_SCRIPTS, FOR_OPERATORS = "For people", "For scripts", "For operators"
"""The groups in the list of commands, in their order. A command without a group is for operators."""
MIN_COLUMNS, MAX_COLUMNS = 40, 80
"""Width of the page, whatever that of the terminal is."""
MAX_NAME_COLUMNS = 26
"""Width of the names in a table. A longer name stands on a line of its own."""


class CommandApp(typer.Typer):
    """A Typer app whose commands have these help pages."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            cls=HelpGroup,
            no_args_is_help=True,
            add_completion=False,
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
            context_settings={"help_option_names": ["-h", "--help"]},
            **options,
        )

    def command(self, *arguments: Any, **options: Any) -> Callable[[Any], Any]:
        """Return a decorator that adds a command. The parameters are those of `Typer.command`."""
        return super().command(*arguments, **({"cls": HelpCommand} | options))


class HelpCommand(TyperCommand):
    """A command with a help page."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        paragraphs, blocks = _read_docstring(self.help)
        parts = [self.usage_line(ctx), *paragraphs]
        arguments = [_argument_row(each) for each in self.params if isinstance(each, TyperArgument)]
        options = [each for each in self.get_params(ctx) if isinstance(each, TyperOption)]
        parts += [_table("Arguments", arguments), _table("Options", _option_rows(options)), *blocks]
        formatter.write("\n\n".join(part for part in parts if part) + "\n")

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        formatter.write(self.usage_line(ctx) + "\n")

    def usage_line(self, ctx: Any) -> str:
        """Return, for example, `Usage: blazechat tail CHAT [options]`."""
        pieces = [_usage_of(each) for each in self.params]
        pieces.sort(key=lambda piece: piece == "[options]")
        return _fill(f"Usage: {ctx.command_path} {' '.join(dict.fromkeys(pieces))}", hanging=True)


class HelpGroup(TyperGroup):
    """A command with subcommands, which its help page lists by their group."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        paragraphs, blocks = _read_docstring(self.help)
        parts = [*paragraphs, self.usage_line(ctx), *self._command_tables()]
        options = [each for each in self.get_params(ctx) if isinstance(each, TyperOption)]
        parts += [_table("Options", _option_rows(options)), *blocks]
        parts.append(f"`{ctx.command_path} COMMAND --help` describes a command.")
        formatter.write("\n\n".join(parts) + "\n")

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        formatter.write(self.usage_line(ctx) + "\n")

    def usage_line(self, ctx: Any) -> str:
        return f"Usage: {ctx.command_path} COMMAND ..."

    def _command_tables(self) -> list[str]:
        rows: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            if not command.hidden:
                group = getattr(command, "rich_help_panel", None)
                group = group if isinstance(group, str) else FOR_OPERATORS
                rows.setdefault(group, []).append((name, summary_of(command.help)))
        if len(rows) == 1:
            return [_table("Commands", next(iter(rows.values())))]
        order = (FOR_PEOPLE, FOR_SCRIPTS, FOR_OPERATORS)
        columns = max(len(name) for name in self.commands)
        return [_table(group, rows[group], columns) for group in order if group in rows]


def summary_of(docstring: str | None) -> str:
    """Return the first sentence of a docstring."""
    first = " ".join((docstring or "").strip().partition("\n\n")[0].split())
    sentence, full_stop, _ = first.partition(". ")
    return sentence + full_stop.rstrip()


def _read_docstring(docstring: str | None) -> tuple[list[str], list[str]]:
    """Return the filled paragraphs, and the blocks to print as they stand."""
    paragraphs, blocks = [], []
    for block in inspect.cleandoc(docstring or "").split("\n\n"):
        first, _, rest = block.partition("\n")
        if first.endswith(":") and rest.startswith(" "):
            blocks.append(block)
        else:
            paragraphs.append(_fill(" ".join(block.split())))
    return paragraphs, blocks


def _usage_of(parameter: Any) -> str:
    if isinstance(parameter, TyperOption):
        return f"{parameter.opts[0]} {parameter.metavar}" if parameter.required else "[options]"
    name = parameter.display_name_raw + (" ..." if parameter.nargs != 1 else "")
    return name if parameter.required else f"[{name}]"


def _argument_row(argument: TyperArgument) -> tuple[str, str]:
    return argument.display_name_raw, argument.help or ""


def _option_rows(options: Iterable[TyperOption]) -> list[tuple[str, str]]:
    return [(_option_name(each), _option_text(each)) for each in options]


def _option_name(option: TyperOption) -> str:
    """Return, for example, `-n, --lines N`. Without a short form, there is room for it."""
    short = [each for each in option.opts if not each.startswith("--")]
    long = [each for each in option.opts if each.startswith("--")]
    name = f"{', '.join([*short, *long])}" if short else f"    {', '.join(long)}"
    return f"{name} {option.metavar}" if option.metavar else name


def _option_text(option: TyperOption) -> str:
    if option.name == "help":
        return "Print this help."
    has_default = option.show_default and option.default not in (None, False, "")
    default = f" Default: {option.default}." if has_default else ""
    return f"{option.help or ''}{default}"


def _table(heading: str, rows: list[tuple[str, str]], columns: int = 0) -> str:
    """Return a heading and two columns; the first is at least `columns` wide."""
    if not rows:
        return ""
    columns = max(columns, *(len(name) for name, _ in rows if len(name) <= MAX_NAME_COLUMNS), 0)
    indent = " " * (columns + 4)
    lines = [f"{heading}:"]
    for name, text in rows:
        filled = _fill(text, indent=indent).lstrip()
        if len(name) > columns:
            lines += [f"  {name}", f"{indent}{filled}"]
        else:
            lines.append(f"  {name:{columns}}  {filled}".rstrip())
    return "\n".join(lines)


def _fill(text: str, *, indent: str = "", hanging: bool = False) -> str:
    columns = max(MIN_COLUMNS, min(MAX_COLUMNS, shutil.get_terminal_size().columns))
    return textwrap.fill(
        text,
        columns,
        initial_indent=indent,
        subsequent_indent="         " if hanging else indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
