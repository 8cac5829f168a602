"""Gather training pictures into one store.

    python -m sargan_training.detector.prepare runs/detector_pictures --data DATA \
        --wider WIDER_train --negatives FOLDER

``DATA`` holds ``faces.csv`` and photographs (people kept for tests are left out), ``WIDER_train``
a copy of WIDER FACE, ``FOLDER`` pictures without any face. Each may be given several times.
"""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path

from sargan_training.command import run_script
from sargan_training.detector.pictures import write_store
from sargan_training.detector.sources import face_free_pictures, face_pictures
from sargan_training.detector.wider import wider_pictures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path, help="the folder to write")
    readers = {"data": face_pictures, "wider": wider_pictures, "negatives": face_free_pictures}
    for name in readers:
        parser.add_argument(f"--{name}", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    pictures = chain.from_iterable(
        read(folder) for name, read in readers.items() for folder in getattr(arguments, name)
    )
    print(f"{write_store(arguments.store, pictures)} pictures in {arguments.store}")


if __name__ == "__main__":
    run_script(main)
