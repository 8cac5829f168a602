"""Frames of a GIF: a palette of their own for each."""

from __future__ import annotations

import av
import numpy as np
from PIL import Image
from scipy.spatial import KDTree

from sargan_plugin.video.planes import plane_views

COLOURS = 255  # one is left for what is clear
OPAQUE = 0xFF000000


def colours_of(frame: av.VideoFrame) -> np.ndarray:
    """The opaque colours of a frame of planar RGB, each once, as ``0xRRGGBB``."""
    codes, clear = _codes(frame)
    return np.unique(codes[~clear])


def in_a_palette(frame: av.VideoFrame, kept: np.ndarray | None = None) -> av.VideoFrame:
    """A frame of planar RGB, with opacity or without, as ``pal8``.

    Exact for up to 255 colours. Of more, those in ``kept`` stay exact (what the source had, so
    that nothing changes around a face), and the others get the nearest of what there is room for.
    """
    codes, clear = _codes(frame)
    colours, places = np.unique(codes[~clear], return_inverse=True)
    palette = colours
    if len(colours) > COLOURS:
        kept = colours[:0] if kept is None else kept[:COLOURS]
        new = codes[~clear & ~np.isin(codes, kept)]
        palette = np.concatenate([kept, _reduced(new, COLOURS - len(kept))])
    indices = np.full(codes.shape, COLOURS, np.uint8)
    indices[~clear] = _nearest(colours, palette)[places.ravel()]
    result = av.VideoFrame(frame.width, frame.height, "pal8")
    plane_views(result)[0][:] = indices
    table = np.frombuffer(result.planes[1], np.uint32)
    table[:] = 0
    table[: len(palette)] = palette | OPAQUE
    return result


def _codes(frame: av.VideoFrame) -> tuple[np.ndarray, np.ndarray]:
    green, blue, red, *alpha = plane_views(frame)
    codes = (red.astype(np.uint32) << 16) | (green.astype(np.uint32) << 8) | blue
    return codes, alpha[0] < 128 if alpha else np.zeros(codes.shape, bool)


def _channels(codes: np.ndarray) -> np.ndarray:
    return np.stack([codes >> 16, (codes >> 8) & 255, codes & 255], axis=-1).astype(np.uint8)


def _reduced(codes: np.ndarray, count: int) -> np.ndarray:
    """At most so many colours that stand for all pixels, by median cut."""
    if count == 0 or not len(codes):
        return codes[:0]
    reduced = Image.fromarray(_channels(codes)[None]).quantize(count, Image.Quantize.MEDIANCUT)
    chosen = np.array(reduced.getpalette()[: 3 * count], np.uint32).reshape(-1, 3)
    return (chosen[:, 0] << 16) | (chosen[:, 1] << 8) | chosen[:, 2]


def _nearest(colours: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """For each colour the index of the nearest in a palette."""
    return KDTree(_channels(palette)).query(_channels(colours))[1]
