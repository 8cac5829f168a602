"""Write the demo's photographs, which ship inside scikit-image and InsightFace.

    python -m sargan_training.demo out/demo/photos

The portrait of an astronaut (NASA, public domain) and InsightFace's group photo of six people.
"""

from __future__ import annotations

import argparse
import shutil
from importlib.resources import files
from pathlib import Path

from sargan_training.command import run_script

PHOTOS = {
    "astronaut.png": ("skimage", "data/astronaut.png"),
    "group.jpg": ("insightface", "data/images/t1.jpg"),
}


def write_photos(folder: Path) -> list[Path]:
    """Copy the photographs into ``folder`` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        Path(shutil.copyfile(str(files(package) / name), folder / photo))
        for photo, (package, name) in PHOTOS.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    for path in write_photos(parser.parse_args().folder):
        print(path)


if __name__ == "__main__":
    run_script(main)
