"""The template language of incoming webhooks: Jinja's sandbox, reduced to data.

A template sees JSON and nothing of Python: `a.b` is a key of an object or nothing, never an attribute or a
method, so no chain of attributes leads out of the sandbox. The process in which templates run limits their
time and memory (template_worker.py).
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from traceback import walk_tb
from typing import Any

import msgspec
from jinja2 import (
    ChainableUndefined,
    Template,
    TemplateError,
    TemplateSyntaxError,
    Undefined,
    nodes,
    pass_context,
)
from jinja2.filters import FILTERS, _GroupTuple
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from blazechat.domain.integrations import slack_markup
from blazechat.domain.integrations.template_protocol import Rendered, RenderFailure, RenderJob

FILTER_NAMES = (
    *("abs", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "filesizeformat"),
    *("first", "float", "groupby", "indent", "int", "items", "join", "last", "length", "list", "lower"),
    *("map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round", "select", "selectattr"),
    *("slice", "sort", "string", "striptags", "sum", "title", "trim", "truncate", "unique", "upper"),
    *("urlencode", "wordcount", "wordwrap"),
)
"""Jinja's filters that templates may use; docs/webhooks.md lists the others that they have."""
LOOP_ATTRIBUTES = frozenset(
    ("index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem", "depth")
)
OTHER_TEMPLATES = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
TEMPLATE_FILE = "<template>"
"""The file name of a template in tracebacks."""
CACHED_TEMPLATES = 64
MAX_REASON_CHARACTERS = 300
MAX_LINK_LABEL_CHARACTERS = 500


def run(job: RenderJob) -> Rendered | RenderFailure:
    """Render a template, or check its syntax."""
    try:
        template = _compiled(job.template)
        return Rendered("" if job.payload is None else _text(template, job))
    except MemoryError:
        return RenderFailure(None, "The template needs too much memory.")
    except RecursionError:
        return RenderFailure(None, "The template is nested too deeply.")
    except Exception as error:  # noqa: BLE001 -- expressions of templates raise errors of any type
        return RenderFailure(_line_of(error), _reason_of(error))


class _Environment(ImmutableSandboxedEnvironment):
    """Looks up keys of objects and items of lists only."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, LoopContext) and attribute in LOOP_ATTRIBUTES:
            return getattr(obj, attribute)
        if isinstance(obj, _GroupTuple) and attribute in ("grouper", "list"):
            return getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, dict | list | tuple | str):
            try:
                return obj[argument]
            except (TypeError, LookupError):
                pass
        return self.undefined(obj=obj, name=argument)


def _environment() -> _Environment:
    """Return the environment. It computes no constants at compile time: a cached template would keep them,
    and take the memory of other owners' templates."""
    environment = _Environment(
        optimized=False,
        undefined=ChainableUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        cache_size=0,
    )
    environment.globals.clear()
    environment.filters = {name: FILTERS[name] for name in FILTER_NAMES} | {
        "first_line": _first_line,
        "link": _link,
        "tojson": _json,
    }
    return environment


@lru_cache(CACHED_TEMPLATES)
def _compiled(source: str) -> Template:
    tree = ENVIRONMENT.parse(source)
    for node in tree.find_all(OTHER_TEMPLATES):
        raise TemplateSyntaxError("A template cannot use other templates.", node.lineno)
    return ENVIRONMENT.from_string(tree)


def _text(template: Template, job: RenderJob) -> str:
    """Return the output without the space around it. A lone surrogate becomes a question mark."""
    payload = msgspec.json.decode(job.payload or b"null")
    variables = dict(payload) if isinstance(payload, dict) else {}
    variables["payload"] = payload
    if job.event is not None:
        variables["event"] = job.event
    output = "".join(_cut(template.generate(variables), job.max_characters))
    return output.strip().encode(errors="replace").decode()


def _cut(parts: Iterator[str], max_characters: int) -> Iterator[str]:
    """Yield parts until they have more than `max_characters`, not counting space at the beginning."""
    characters = 0
    for part in parts:
        shown = part if characters else part.lstrip()
        yield shown
        characters += len(shown)
        if characters > max_characters:
            return


@pass_context  # or Jinja would call it for constants at compile time
def _shown(context: Context, value: Any) -> Any:
    """Return how a value is displayed: texts and numbers as they are, nothing for null, others as JSON."""
    if isinstance(value, bool | dict | list | tuple | Iterator) and not isinstance(value, LoopContext):
        return _json(value)
    return value if isinstance(value, str | int | float) else ""


def _json(value: Any) -> str:
    plain = list(value) if isinstance(value, Iterator) else value
    return json.dumps(plain, ensure_ascii=False, default=lambda other: None)


def _first_line(value: Any) -> str:
    """Return the first line that is not blank, as of a commit's message."""
    lines = _string(value).strip().splitlines()
    return lines[0].rstrip() if lines else ""


def _link(label: Any, url: Any) -> str:
    """Return a Markdown link; the label alone if `url` is not a URL."""
    return slack_markup.link(url, _string(label)[:MAX_LINK_LABEL_CHARACTERS])


def _string(value: Any) -> str:
    return "" if value is None or isinstance(value, Undefined) else str(value)


def _line_of(error: Exception) -> int | None:
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    lines = [
        line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == TEMPLATE_FILE
    ]
    return lines[-1] if lines else None


def _reason_of(error: Exception) -> str:
    if isinstance(error, TemplateError):
        message = error.message or ""
    else:
        message = f"This cannot be computed: {str(error) or type(error).__name__}"
    # Some of Python's errors repeat a key of the payload, which might have any character.
    storable = message.replace("\0", "").encode(errors="replace").decode()
    sentence = " ".join(storable.split())[:MAX_REASON_CHARACTERS].rstrip(".")
    return sentence[:1].upper() + sentence[1:] + "."


ENVIRONMENT = _environment()
