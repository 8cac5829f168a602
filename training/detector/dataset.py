"""Collages as batches for the network, with every anchor's answer."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from sargan_training.detector.anchors import make_anchors
from sargan_training.detector.assignment import assign
from sargan_training.detector.collage import CollageMaker
from sargan_training.detector.degrade import degrade
from sargan_training.detector.losses import Targets
from sargan_training.detector.pictures import PictureStore


class Collages(Dataset):
    """Collage number ``index`` of a seed is always the same: a resumed run goes on with new ones.

    Args:
        store: see :class:`~sargan_training.detector.collage.CollageMaker`.
        side: of the square pictures in px, a multiple of 32.
        count: how many there are.
        seed: of all of them.
    """

    def __init__(self, store: PictureStore, side: int, count: int, seed: int = 0) -> None:
        self.maker = CollageMaker(store, side)
        self.anchors = make_anchors(side, side)
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Targets]:
        """``(3, side, side)`` uint8 RGB and the targets of this one picture, without batch axis."""
        random = np.random.default_rng((self.seed, index))
        picture = self.maker.draw(random)
        pixels = torch.from_numpy(degrade(picture.pixels, random)).permute(2, 0, 1)
        sure = torch.from_numpy(picture.sure)
        boxes = torch.from_numpy(picture.boxes)
        assigned = assign(self.anchors, boxes[sure], boxes[~sure])
        face = assigned[assigned >= 0]
        landmarks = torch.from_numpy(picture.landmarks)[sure]
        return pixels, Targets(assigned, boxes[sure][face], landmarks[face])


def collate(samples: list[tuple[torch.Tensor, Targets]]) -> tuple[torch.Tensor, Targets]:
    """``(B, 3, S, S)`` uint8 and the targets of the batch."""
    pixels, targets = zip(*samples, strict=True)
    return torch.stack(pixels), Targets(
        torch.stack([each.assigned for each in targets]),
        torch.cat([each.boxes for each in targets]),
        torch.cat([each.landmarks for each in targets]),
    )


def collage_loader(collages: Collages, batch: int, first: int, workers: int) -> DataLoader:
    """Batches from collage number ``first`` on, in order."""
    return DataLoader(
        Subset(collages, range(first, len(collages))),
        batch_size=batch,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_use_one_thread,
        drop_last=True,
    )


def _use_one_thread(worker: int) -> None:
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
