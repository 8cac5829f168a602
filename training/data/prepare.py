"""From photographs to aligned crops in shards: detection and alignment as the editor does them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sargan_plugin.editor import STRONG_PROFILE, Detector
from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.faces import Face
from sargan_plugin.images import printable_name, replacing
from sargan_training.data.crops import aligned_crop, margin_of
from sargan_training.data.layouts import LabelledPhoto
from sargan_training.data.photos import read_photo
from sargan_training.data.shards import SETTINGS, ShardName, read_facts, write_shard

PHOTOS_PER_SHARD = 256
# A crop enlarged from fewer pixels between the eyes teaches blur.
MIN_EYE_DISTANCE = 12


@dataclass(frozen=True)
class Prepared:
    """What became of the photos of one shard.

    Attributes:
        photos: how many were looked at.
        people: who is on each crop that they gave.
        skipped: each left-out photo's path and the reason.
    """

    photos: int
    people: list[str]
    skipped: list[dict[str, str]]


def prepare(
    photos: Sequence[LabelledPhoto],
    source: Path,
    destination: Path,
    detector: Detector,
    detector_digest: str,
    *,
    size: int = 128,
    workers: int = 2,
) -> Iterator[Prepared]:
    """Cut the face that each photo shows along the canonical template; yields shard by shard.

    Shards that an earlier run finished are not made again, so an interrupted run goes on.

    Args:
        photos: as a reader of :mod:`sargan_training.data.layouts` lists them.
        source: folder that photos are named after.
        destination: folder of the shards; made when it is missing.
        detector: finds faces; threads share it.
        detector_digest: says which one it is.
        size: side of the canonical crop; 16 px of surroundings for 128 are kept on every side.
        workers: threads that decode, detect and align.

    Raises:
        SarganError: when ``destination`` holds shards of other photos, of another size or found by
            another detector, or cannot be written to.
    """
    names = [photo_name(photo.path, source) for photo in photos]
    _claim(destination, source, names, photos, size, detector_digest)
    with ThreadPoolExecutor(workers, "prepare") as pool:
        for number, start in enumerate(range(0, len(photos), PHOTOS_PER_SHARD)):
            part = slice(start, start + PHOTOS_PER_SHARD)
            name = ShardName(destination, number)
            facts = read_facts(name)
            if facts is None:
                facts = _make_shard(name, names[part], photos[part], detector, size, pool)
            people = [face["person"] for face in facts["faces"]]
            yield Prepared(len(names[part]), people, facts["skipped"])


def photo_name(path: Path, source: Path) -> str:
    """How a photo is called in a shard: its path below the data set's folder."""
    return str(path.relative_to(source) if path.is_relative_to(source) else path)


def _claim(
    destination: Path,
    source: Path,
    names: Sequence[str],
    photos: Sequence[LabelledPhoto],
    size: int,
    detector_digest: str,
) -> None:
    """Mark a folder as belonging to these photos, size and detector, or find that it does.

    Where the photos lie may change; it is written down for those who want them at full size.
    """
    lines = [f"{n}\t{photo.person}\t{photo.label}" for n, photo in zip(names, photos, strict=True)]
    listed = "\n".join(lines)
    digest = hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()
    settings = {
        "size": size,
        "photos": len(photos),
        "listing": digest,
        "detector": detector_digest,
    }
    here = settings | {"source": str(source.absolute())}
    file = destination / SETTINGS
    try:
        destination.mkdir(parents=True, exist_ok=True)
        found = json.loads(file.read_text()) if file.exists() else settings
        if isinstance(found, dict) and settings.items() <= found.items() and found != here:
            with replacing(file) as temporary:
                temporary.write_text(json.dumps(here))
            found = here
    except OSError as error:
        reason = error.strerror or error
        raise SarganError(
            f"{printable_name(destination)}: cannot be written to: {reason}"
        ) from error
    except ValueError:
        found = None
    if found != here:
        raise SarganError(
            f"{printable_name(destination)}: holds crops of other photos, of another size or "
            "found by another detector; choose another folder or remove it."
        )


def _make_shard(
    shard: ShardName,
    names: Sequence[str],
    photos: Sequence[LabelledPhoto],
    detector: Detector,
    size: int,
    pool: ThreadPoolExecutor,
) -> dict[str, list[Any]]:
    crops, faces, skipped = [], [], []
    results = pool.map(lambda photo: _crop(photo, detector, size), photos)
    for name, photo, result in zip(names, photos, results, strict=True):
        if isinstance(result, str):
            skipped.append({"path": name, "reason": result})
            continue
        crop, landmarks = result
        crops.append(crop)
        faces.append(
            {
                "path": name,
                "person": photo.person,
                "expression": EXPRESSIONS[photo.label],
                "landmarks": landmarks.tolist(),
            }
        )
    outer = size + 2 * margin_of(size)
    write_shard(shard, np.array(crops, np.uint8).reshape(-1, outer, outer, 3), faces, skipped)
    return {"faces": faces, "skipped": skipped}


def shown_face(faces: Sequence[Face], width: int, height: int) -> Face:
    """The face that a photo is of: large, and near the middle; a bystander may be larger.

    Weighed as InsightFace does: area less twice the squared distance from the middle.
    """

    def weight(face: Face) -> float:
        x, y = face.center
        return face.size**2 - 2 * ((x - width / 2) ** 2 + (y - height / 2) ** 2)

    return max(faces, key=weight)


def _crop(
    photo: LabelledPhoto, detector: Detector, size: int
) -> tuple[np.ndarray, np.ndarray] | str:
    """The aligned crop of the face that the label is of and its landmarks, or why there is none."""
    try:
        pixels = read_photo(photo.path)
    except SarganError as error:
        return str(error).removeprefix(f"{printable_name(photo.path)}: ").rstrip(".")
    faces = detector.detect(pixels)
    if not faces:
        return "no face found"
    face = shown_face(faces, *pixels.shape[1::-1])
    if np.linalg.norm(face.landmarks5[1] - face.landmarks5[0]) < MIN_EYE_DISTANCE:
        return f"the face is too small (under {MIN_EYE_DISTANCE} px between the eyes)"
    if face.profile_strength > STRONG_PROFILE:
        return "the face is turned strongly to the side"
    landmarks = face.landmarks5.astype(np.float32)
    return aligned_crop(pixels, landmarks, size, margin_of(size)), landmarks
