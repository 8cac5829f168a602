"""Aligned crops on disk, memory-mapped: as many as fit on the disk, not into memory.

A folder of shards holds ``shard_00000.npy`` (uint8 crops ``(N, S, S, 3)``) with
``shard_00000.json`` (who and what, and which photos were skipped) and so on. The JSON is written
last: a shard without it was interrupted and does not count.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sargan_plugin.detector_files import first_line
from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.images import printable_name
from sargan_training.data.crops import Crops
from sargan_training.data.faces import FaceSet
from sargan_training.data.photos import FaceRow
from sargan_training.files import replace_with, save_array

# Says what the shards of a folder were made of, and where that lay.
SETTINGS = "prepared.json"


@dataclass(frozen=True)
class ShardName:
    """The two files of a shard."""

    folder: Path
    number: int

    @property
    def crops(self) -> Path:
        return self.folder / f"shard_{self.number:05d}.npy"

    @property
    def facts(self) -> Path:
        return self.folder / f"shard_{self.number:05d}.json"


def write_shard(
    name: ShardName, crops: np.ndarray, faces: list[dict[str, Any]], skipped: list[dict[str, str]]
) -> None:
    """Write a shard so that it is there whole or not at all."""
    save_array(name.crops, crops)
    facts = json.dumps({"faces": faces, "skipped": skipped})
    replace_with(name.facts, lambda partial: partial.write_text(facts))


def read_facts(name: ShardName) -> dict[str, Any] | None:
    """What a complete shard says of its faces and skipped photos; None when it is not complete."""
    try:
        return json.loads(name.facts.read_text())
    except (FileNotFoundError, ValueError):
        return None


def is_prepared(folder: Path) -> bool:
    """Whether a folder holds shards, and not photographs."""
    return (folder / SETTINGS).exists()


def load_shards(folder: Path) -> FaceSet:
    """All faces of a prepared folder; only what is indexed is read into memory.

    Raises:
        SarganError: when the folder holds no finished shards, or ones of an earlier version, or a
            file of theirs is damaged.
    """
    shards = _finished(folder)
    files = [_crops(name, len(faces)) for name, faces in shards]
    return FaceSet.labelled(Crops(files), _source_and_rows(folder, shards)[1])


def _crops(name: ShardName, faces: int) -> np.ndarray:
    """A shard's crops, memory-mapped: as many as its facts tell of."""
    try:
        crops = np.load(name.crops, mmap_mode="r")
        if len(crops) != faces:
            raise ValueError(f"holds {len(crops)} crops instead of {faces}")
    except (OSError, EOFError, ValueError) as error:
        raise SarganError(
            f"{printable_name(name.crops)}: is damaged ({first_line(error)}). Delete "
            f"{name.facts.name}; train prepare makes both anew."
        ) from error
    return crops


def read_shard_rows(folder: Path) -> tuple[Path, list[FaceRow]]:
    """The folder that a prepared folder's photos lay in, and the face that was found in each.

    Raises:
        SarganError: when the folder holds no finished shards, or ones of an earlier version.
    """
    return _source_and_rows(folder, _finished(folder))


def _source_and_rows(
    folder: Path, shards: list[tuple[ShardName, list[dict[str, Any]]]]
) -> tuple[Path, list[FaceRow]]:
    faces = [face for _, of_shard in shards for face in of_shard]
    source = _settings(folder).get("source")
    if source is None or not all("landmarks" in face for face in faces):
        raise SarganError(
            f"{printable_name(folder)}: does not say where its photos lie; prepare it once more "
            "into another folder."
        )
    return Path(source), [
        FaceRow(
            face["path"],
            face["person"],
            EXPRESSIONS.index(face["expression"]),
            np.array(face["landmarks"], np.float32),
        )
        for face in faces
    ]


def _finished(folder: Path) -> list[tuple[ShardName, list[dict[str, Any]]]]:
    """The complete shards that hold faces, and what they say of each."""
    shards, looked_at = [], 0
    for path in sorted(folder.glob("shard_*.json")):
        name = ShardName(folder, int(path.stem.removeprefix("shard_")))
        facts = read_facts(name)
        if facts is None:
            continue
        looked_at += len(facts["faces"]) + len(facts["skipped"])
        if facts["faces"]:
            shards.append((name, facts["faces"]))
    photos = _settings(folder)["photos"]
    if looked_at < photos:
        raise SarganError(
            f"{printable_name(folder)}: only {looked_at} of {photos} photos are prepared; train "
            "prepare goes on where it stopped."
        )
    if not shards:
        raise SarganError(f"{printable_name(folder)}: holds no prepared faces; see train prepare.")
    return shards


def _settings(folder: Path) -> dict[str, Any]:
    """What ``prepare`` wrote of the folder's making."""
    try:
        settings = json.loads((folder / SETTINGS).read_text())
    except (OSError, ValueError):
        settings = None
    if not isinstance(settings, dict) or not isinstance(settings.get("photos"), int):
        raise SarganError(
            f"{printable_name(folder / SETTINGS)}: is not as train prepare writes it."
        )
    return settings
