"""Frames of a GIF: a palette of their own for each."""

from __future__ import annotations

import av
import numpy as np
from PIL import Image

from sargan_plugin.video.planes import plane_views

COLOURS = 255  # one is left for what is clear


def in_a_palette(frame: av.VideoFrame) -> av.VideoFrame:
    """A frame of planar RGB, with opacity or without, as ``pal8``.

    Exact for up to 255 colours, as in every frame that came from a GIF and was not edited.
    """
    green, blue, red, *alpha = plane_views(frame)
    clear = alpha[0] < 128 if alpha else np.zeros(green.shape, bool)
    codes = (red.astype(np.uint32) << 16) | (green.astype(np.uint32) << 8) | blue
    colours, places = np.unique(codes[~clear], return_inverse=True)
    indices = np.full(green.shape, COLOURS, np.uint8)
    palette = np.zeros(256, np.uint32)
    if len(colours) <= COLOURS:
        indices[~clear] = places.ravel()
        palette[: len(colours)] = colours | 0xFF000000
    else:
        picture = Image.fromarray(np.dstack([red, green, blue]))
        reduced = picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        chosen = np.array(reduced.getpalette()[: 3 * COLOURS], np.uint32).reshape(-1, 3)
        reduced = picture.quantize(palette=reduced, dither=Image.Dither.FLOYDSTEINBERG)
        indices[:] = np.where(clear, COLOURS, np.asarray(reduced))
        palette[: len(chosen)] = (
            (chosen[:, 0] << 16) | (chosen[:, 1] << 8) | chosen[:, 2] | 0xFF000000
        )
    result = av.VideoFrame(frame.width, frame.height, "pal8")
    pixels, table = result.planes[:2]
    rows = np.frombuffer(pixels, np.uint8)[: frame.height * pixels.line_size]
    rows.reshape(frame.height, pixels.line_size)[:, : frame.width] = indices
    np.frombuffer(table, np.uint32)[:256] = palette
    return result
