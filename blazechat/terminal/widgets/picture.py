"""A picture in the terminal: two pixels a character, the upper as the half block, the lower behind it.

Every terminal that knows colours can show that. Sixel and Kitty's protocol would be sharper; to know
whether a terminal has them it has to be asked on the very line that the keys come in on.
"""

import io
from typing import ClassVar

from PIL import Image, UnidentifiedImageError
from rich.color import Color
from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Label, Static

PIXELS_LIMIT = 4_000_000
"""Of what is drawn: a thumbnail has fewer."""


class Unseen(Exception):
    """It cannot be shown; the text says why."""


def drawn(content: bytes, width: int, height: int) -> Text:
    """A WebP picture in at most as many columns and lines. Raises Unseen."""
    try:
        with Image.open(io.BytesIO(content), formats=["WEBP"]) as image:
            if image.width * image.height > PIXELS_LIMIT:
                raise Unseen("This picture is too large to be shown here.")
            image.thumbnail((max(1, width), max(2, 2 * height)))
            pixels = _on_black(image)
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise Unseen("This picture cannot be read.") from error
    text = Text(no_wrap=True, end="")
    for y in range(0, pixels.height, 2):
        for x in range(pixels.width):
            text.append("▀", Style(color=_colour(pixels, x, y), bgcolor=_colour(pixels, x, y + 1)))
        if y + 2 < pixels.height:
            text.append("\n")
    return text


def _on_black(image: Image.Image) -> Image.Image:
    ground = Image.new("RGBA", image.size, "black")
    ground.alpha_composite(image.convert("RGBA"))
    return ground.convert("RGB")


def _colour(pixels: Image.Image, x: int, y: int) -> Color | None:
    if y >= pixels.height:
        return None
    found = pixels.getpixel((x, y))
    assert isinstance(found, tuple)
    return Color.from_rgb(*found[:3])


class Picture(ModalScreen[str | None]):
    """A picture as large as the terminal allows; answers `save` or `open` if one wants that next."""

    DEFAULT_CSS = """
    Picture { align: center middle; background: $background; }
    Picture > Vertical { width: auto; height: auto; align-horizontal: center; }
    Picture Static { width: auto; height: auto; }
    Picture Label { color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "answer('')", "Close"),
        Binding("s", "answer('save')", "Save"),
        Binding("o", "answer('open')", "Open elsewhere"),
    ]

    def __init__(self, content: bytes, title: Text) -> None:
        super().__init__()
        self._content, self._title = content, title

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(id="pixels")
            yield Label(self._title)
            yield Label("s saves it, o opens it elsewhere, Esc closes.")

    def on_mount(self) -> None:
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        try:
            shown = drawn(self._content, self.app.size.width, self.app.size.height - 2)
        except Unseen as unseen:
            shown = Text(str(unseen))
        self.query_one("#pixels", Static).update(shown)

    def action_answer(self, answer: str) -> None:
        self.dismiss(answer or None)
