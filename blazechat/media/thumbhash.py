"""ThumbHash, a blurred placeholder in some 25 bytes (https://evanw.github.io/thumbhash/).

Only the encoder, and our own: the one on PyPI is a single release of 2023, which fails on every image with
transparency. Summing by row first, then by column, it also needs a third of that one's time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, floor, pi
from operator import mul

LARGEST = 100
"""Pixels that a side may have."""

Values = Sequence[float]


@dataclass(frozen=True)
class Channel:
    """A colour channel as a cosine transform: its mean, its waves within 0…1, and their scale."""

    mean: float
    waves: list[float]
    scale: float


def thumbhash(width: int, height: int, rgba: bytes) -> bytes:
    """The placeholder of an image of at most 100 × 100 pixels, four bytes each, not premultiplied."""
    if not (0 < width <= LARGEST and 0 < height <= LARGEST and len(rgba) == width * height * 4):
        raise ValueError(f"{width} × {height} pixels in {len(rgba)} bytes")
    alpha = [value / 255 for value in rgba[3::4]]
    opacity = sum(alpha)
    has_alpha = opacity < width * height
    red, green, blue = (_over_its_mean(rgba[index::4], alpha, opacity) for index in range(3))
    longest, limit = max(width, height), 5 if has_alpha else 7
    across, down = (max(1, _round(limit * side / longest)) for side in (width, height))
    lightness = [(r + g + b) / 3 for r, g, b in zip(red, green, blue, strict=True)]
    yellowness = [(r + g) / 2 - b for r, g, b in zip(red, green, blue, strict=True)]
    redness = [r - g for r, g in zip(red, green, strict=True)]
    channels = [
        _transform(lightness, width, max(3, across), max(3, down)),
        _transform(yellowness, width, 3, 3),
        _transform(redness, width, 3, 3),
    ]
    if has_alpha:
        channels.append(_transform(alpha, width, 5, 5))
    return _packed(channels, down if width > height else across, is_landscape=width > height)


def _over_its_mean(values: bytes, alpha: Values, opacity: float) -> list[float]:
    """A colour laid upon the mean colour, so that what cannot be seen does not weigh."""
    shown = [value / 255 * each for value, each in zip(values, alpha, strict=True)]
    mean = sum(shown) / opacity if opacity else 0.0
    return [value + mean * (1 - each) for value, each in zip(shown, alpha, strict=True)]


def _transform(values: Values, width: int, across: int, down: int) -> Channel:
    height = len(values) // width
    horizontal, vertical = _cosines(width, across), _cosines(height, down)
    rows = [values[start : start + width] for start in range(0, len(values), width)]
    columns = [[sum(map(mul, row, wave)) for row in rows] for wave in horizontal]
    sums = [
        sum(map(mul, columns[x], vertical[y])) / len(values)
        for y in range(down)
        for x in range(across)
        if x * down < across * (down - y)
    ]
    mean, *waves = sums
    scale = max(map(abs, waves))
    return Channel(mean, [0.5 + 0.5 / scale * wave for wave in waves] if scale else waves, scale)


def _cosines(length: int, count: int) -> list[list[float]]:
    return [[cos(pi / length * wave * (at + 0.5)) for at in range(length)] for wave in range(count)]


def _packed(channels: list[Channel], side: int, *, is_landscape: bool) -> bytes:
    light, yellow, red, *alpha = channels
    first = (
        _round(63 * light.mean)
        | _round(31.5 + 31.5 * yellow.mean) << 6
        | _round(31.5 + 31.5 * red.mean) << 12
        | _round(31 * light.scale) << 18
        | len(alpha) << 23
    )
    second = side | _round(63 * yellow.scale) << 3 | _round(63 * red.scale) << 9 | is_landscape << 15
    found = bytearray(first.to_bytes(3, "little") + second.to_bytes(2, "little"))
    for each in alpha:
        found.append(_round(15 * each.mean) | _round(15 * each.scale) << 4)
    halves = [_round(15 * wave) for channel in channels for wave in channel.waves]
    halves += [0] * (len(halves) % 2)
    found += bytes(low | high << 4 for low, high in zip(halves[::2], halves[1::2], strict=True))
    return bytes(found)


def _round(value: float) -> int:
    """As JavaScript does it, which the format's author wrote it in: a half goes up."""
    return floor(value + 0.5)
