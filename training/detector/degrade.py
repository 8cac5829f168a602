"""What cameras, light and files do to a picture; uint8 ``(H, W, 3)`` RGB in and out."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np


def degrade(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw light and colour, blur, noise and compression, in the order they happen."""
    pixels = light(pixels, random)
    if random.random() < 0.12:
        pixels = grey(pixels)
    if random.random() < 0.2:
        pixels = blur(pixels, random)
    if random.random() < 0.25:
        pixels = noise(pixels, random)
    if random.random() < 0.3:
        pixels = jpeg(pixels, random)
    return pixels


def light(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Exposure, contrast, gamma and colour cast as one table a channel; saturation."""
    strong = random.random() < 0.2
    spread = 0.5 if strong else 0.15
    gamma = np.exp(random.uniform(-1, 1) * spread * 1.4)
    gains = np.exp(random.uniform(-0.6, 0.6) * spread + random.uniform(-1, 1, 3) * spread * 0.6)
    if random.random() < 0.1:
        gains *= random.uniform(0.25, 0.6)  # low light
    lift = random.uniform(-0.3, 0.3) * spread
    levels = np.linspace(0, 1, 256)[:, None] ** gamma
    table = (levels * gains + lift).clip(0, 1) * 255
    pixels = cv2.LUT(pixels, np.broadcast_to(table.round().astype(np.uint8), (1, 256, 3)).copy())
    if random.random() < 0.3:
        share = random.uniform(0.2, 1.4)
        pixels = cv2.addWeighted(pixels, share, grey(pixels), 1 - share, 0)
    return pixels


def grey(pixels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def blur(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Out of focus, or moved along a line."""
    if random.random() < 0.6:
        return cv2.GaussianBlur(pixels, (0, 0), random.uniform(0.5, 2.0))
    length = int(random.integers(3, 10))
    kernel = np.zeros((length, length), np.float32)
    angle = random.uniform(0, np.pi)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    middle = (length - 1) / 2
    start, end = (tuple(np.round(middle + sign * reach).astype(int).tolist()) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return cv2.filter2D(pixels, -1, kernel / kernel.sum())


def noise(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Gaussian noise, coloured or grey."""
    height, width = pixels.shape[:2]
    grain = _grain(height + 64, width + 64)
    top, left = random.integers(0, 64, 2)
    channels = 1 if random.random() < 0.5 else 3
    part = grain[top : top + height, left : left + width, :channels]
    noisy = pixels + part * np.float32(random.uniform(2, 18))
    return noisy.clip(0, 255).astype(np.uint8)


@cache
def _grain(height: int, width: int) -> np.ndarray:
    """``(height, width, 3)`` float32, made once: drawing it takes longer than the whole collage."""
    return np.random.default_rng(0).standard_normal((height, width, 3), dtype=np.float32)


def jpeg(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    quality = int(random.integers(20, 90))
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)
