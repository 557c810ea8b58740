"""Runs the command line, and words its errors: a sentence, and where the help is."""

import sys
from typing import Any

import typer

from blazechat.terminal.cli.errors import EXIT_INTERRUPTED, EXIT_USAGE, CommandError


def run_app(app: typer.Typer) -> None:
    """Parse the arguments, and run the command. Raises CommandError and SystemExit."""
    try:
        exit_code = app(standalone_mode=False, prog_name="blazechat")
    except typer.TyperException as error:
        context: Any = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message(), file=sys.stderr)
            sys.exit(EXIT_USAGE)
        text = sentence_of(error)
        if context is not None:
            text += f"\n{context.get_usage()}\nHelp: {context.command_path} --help"
        raise CommandError(text, EXIT_USAGE) from None
    except typer.Abort:
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(exit_code if isinstance(exit_code, int) else 0)


def sentence_of(error: typer.TyperException) -> str:
    """Return what is wrong with the command line, and what to write instead."""
    parameter: Any = getattr(error, "param", None)
    option: str | None = getattr(error, "option_name", None)
    possible: list[str] = getattr(error, "possibilities", None) or []
    if option is not None and "requires an argument" in error.message:
        return f"{option} takes a value."
    if option is not None and "does not take a value" in error.message:
        return f"{option} takes no value."
    if option is not None:
        names = sorted(each for each in possible if each not in ("-h", "--help"))
        return f"there is no option {option}.{f' Did you mean {names[0]}?' if names else ''}"
    if parameter is not None and not error.message:
        return f"{_name_of(parameter)} is missing."
    if parameter is not None:
        return f"{_name_of(parameter)}: {_reason(error, parameter)}"
    text = error.format_message()
    if "unexpected extra argument" in text:
        extra = text.partition("(s) (")[2].removesuffix(")")
        return f"too many arguments: {extra}. Put a name with spaces in quotes."
    return _lower_first(text)


def _name_of(parameter: Any) -> str:
    is_option = parameter.param_type_name == "option"
    return str(max(parameter.opts, key=len) if is_option else parameter.display_name_raw)


def _reason(error: typer.TyperException, parameter: Any) -> str:
    description = parameter.type_descriptor
    if description.is_choice:
        return f"write {' or '.join(str(each.value) for each in description.choices)}."
    if parameter.max is not None:
        return f"write a whole number from {parameter.min} to {parameter.max}."
    if parameter.min is not None:
        return f"write a whole number of at least {parameter.min}."
    return f"{_lower_first(error.message).rstrip('.')}."


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
