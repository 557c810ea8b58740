"""Shows an image in the terminal, two pixels per character: half blocks with a foreground and a background.

Every terminal with colours can display this. Sixel and Kitty's protocol would be sharper. To find out
whether a terminal supports them, the app would have to query it over the same input stream that the keys
arrive on.
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

MAX_PIXELS = 4_000_000
"""Larger images are refused before they are decoded. Thumbnails have fewer pixels."""


class UnreadableImage(Exception):
    """The image cannot be displayed. The text is for the user and says why."""


def render_image(content: bytes, width: int, height: int) -> Text:
    """Return a WebP image as text of at most `width` columns and `height` lines. Raises UnreadableImage."""
    try:
        with Image.open(io.BytesIO(content), formats=["WEBP"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImage("This image is too large to display in the terminal.")
            image.thumbnail((max(1, width), max(2, 2 * height)))
            pixels = _on_black(image)
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise UnreadableImage("This image cannot be read.") from error
    text = Text(no_wrap=True, end="")
    for y in range(0, pixels.height, 2):
        for x in range(pixels.width):
            text.append("▀", Style(color=_color(pixels, x, y), bgcolor=_color(pixels, x, y + 1)))
        if y + 2 < pixels.height:
            text.append("\n")
    return text


def _on_black(image: Image.Image) -> Image.Image:
    background = Image.new("RGBA", image.size, "black")
    background.alpha_composite(image.convert("RGBA"))
    return background.convert("RGB")


def _color(pixels: Image.Image, x: int, y: int) -> Color | None:
    if y >= pixels.height:
        return None
    pixel = pixels.getpixel((x, y))
    assert isinstance(pixel, tuple)
    return Color.from_rgb(*pixel[:3])


class ImageViewer(ModalScreen[str | None]):
    """Shows an image as large as the terminal permits.

    Returns `save` or `open` if the user asks for that, else None.
    """

    DEFAULT_CSS = """
    ImageViewer { align: center middle; background: $background; }
    ImageViewer > Vertical { width: auto; height: auto; align-horizontal: center; }
    ImageViewer Static { width: auto; height: auto; }
    ImageViewer Label { color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "close('')", "Close"),
        Binding("s", "close('save')", "Save"),
        Binding("o", "close('open')", "Open in another program"),
    ]

    def __init__(self, content: bytes, title: Text) -> None:
        super().__init__()
        self._content, self._title = content, title

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(id="pixels")
            yield Label(self._title)
            yield Label("s saves it, o opens it in another program, Esc closes.")

    def on_mount(self) -> None:
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        try:
            text = render_image(self._content, self.app.size.width, self.app.size.height - 2)
        except UnreadableImage as error:
            text = Text(str(error))
        self.query_one("#pixels", Static).update(text)

    def action_close(self, result: str) -> None:
        self.dismiss(result or None)
