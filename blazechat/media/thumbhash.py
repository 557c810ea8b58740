"""Encodes a ThumbHash, a blurred placeholder of some 25 bytes (https://evanw.github.io/thumbhash/).

Only the encoder, and our own: the one on PyPI is a single release of 2023, which fails on every image with
transparency. This one sums by row first, then by column, and needs a third of its time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, floor, pi
from operator import mul

MAX_SIDE_PIXELS = 100
"""Longest side of an image that can be encoded."""

Values = Sequence[float]


@dataclass(frozen=True)
class CosineTransform:
    """A colour channel after the discrete cosine transform."""

    mean: float
    coefficients: list[float]
    """All but the mean, scaled to between 0 and 1."""
    scale: float
    """The largest absolute value of a coefficient before scaling."""


def thumbhash(width: int, height: int, rgba: bytes) -> bytes:
    """Return the placeholder of an image of at most 100 × 100 pixels.

    `rgba` has four bytes per pixel, not premultiplied. Raises ValueError if the sizes do not match.
    """
    if not (
        0 < width <= MAX_SIDE_PIXELS and 0 < height <= MAX_SIDE_PIXELS and len(rgba) == width * height * 4
    ):
        raise ValueError(f"{width} × {height} pixels in {len(rgba)} bytes")
    alpha = [value / 255 for value in rgba[3::4]]
    opacity = sum(alpha)
    has_alpha = opacity < width * height
    red, green, blue = (_over_mean(rgba[index::4], alpha, opacity) for index in range(3))
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


def _over_mean(values: bytes, alpha: Values, opacity: float) -> list[float]:
    """Compose a colour channel over its mean, so that the colour of transparent pixels has no weight."""
    premultiplied = [value / 255 * each for value, each in zip(values, alpha, strict=True)]
    mean = sum(premultiplied) / opacity if opacity else 0.0
    return [value + mean * (1 - each) for value, each in zip(premultiplied, alpha, strict=True)]


def _transform(values: Values, width: int, across: int, down: int) -> CosineTransform:
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
    mean, *unscaled = sums
    scale = max(map(abs, unscaled))
    coefficients = [0.5 + 0.5 / scale * value for value in unscaled] if scale else unscaled
    return CosineTransform(mean, coefficients, scale)


def _cosines(length: int, count: int) -> list[list[float]]:
    return [[cos(pi / length * wave * (at + 0.5)) for at in range(length)] for wave in range(count)]


def _packed(channels: list[CosineTransform], side: int, *, is_landscape: bool) -> bytes:
    light, yellow, red, *alpha = channels
    first = (
        _round(63 * light.mean)
        | _round(31.5 + 31.5 * yellow.mean) << 6
        | _round(31.5 + 31.5 * red.mean) << 12
        | _round(31 * light.scale) << 18
        | len(alpha) << 23
    )
    second = side | _round(63 * yellow.scale) << 3 | _round(63 * red.scale) << 9 | is_landscape << 15
    packed = bytearray(first.to_bytes(3, "little") + second.to_bytes(2, "little"))
    for each in alpha:
        packed.append(_round(15 * each.mean) | _round(15 * each.scale) << 4)
    halves = [_round(15 * value) for channel in channels for value in channel.coefficients]
    halves += [0] * (len(halves) % 2)
    packed += bytes(low | high << 4 for low, high in zip(halves[::2], halves[1::2], strict=True))
    return bytes(packed)


def _round(value: float) -> int:
    """Round a half up, as JavaScript does, in which the author of the format wrote it."""
    return floor(value + 0.5)
