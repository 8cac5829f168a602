"""Labelled photographs in every layout, aligned into shards."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from sargan_cli.app import main
from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.faces import Face
from sargan_training.data import (
    Crops,
    FaceRow,
    FaceSet,
    aligned_crop,
    load_faces,
    load_photo_rows,
    load_shards,
    read_photo,
)
from sargan_training.data import prepare as preparation
from sargan_training.data.layouts import read_listing
from sargan_training.data.shards import ShardName, write_shard


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def told(listing):
    return sorted((p.path.name, p.person, EXPRESSIONS[p.label]) for p in listing.photos)


def test_class_folders_take_aliases_and_name_strangers(tmp_path):
    touch(tmp_path, "happiness/ann/1.jpg", "anger/2.png", "bored/3.jpg", "anger/readme.txt")
    touch(tmp_path, "sad/2.png")
    listing = read_listing(tmp_path)
    assert told(listing) == [
        ("1.jpg", "ann", "happy"),
        ("2.png", "anger/2", "angry"),
        ("2.png", "sad/2", "sad"),
    ]
    assert listing.left_out == {"expression 'bored'": 1}
    assert listing.nameless == 2


def test_csv_of_a_spreadsheet_with_a_short_row(tmp_path):
    text = "path,person,expression\nx.jpg,ann,happy\ny.jpg\n,bob,sad\n"
    (tmp_path / "list.csv").write_text(text, encoding="utf-8-sig")
    listing = read_listing(tmp_path / "list.csv")
    assert told(listing) == [("x.jpg", "ann", "happy")]
    assert listing.left_out == {"rows without path, person or expression": 2}


def test_csv(tmp_path):
    (tmp_path / "list.csv").write_text("person,expression,path\nbob,fear,x/4.jpg\n")
    listing = read_listing(tmp_path / "list.csv")
    assert told(listing) == [("4.jpg", "bob", "fearful")]
    assert listing.photos[0].path == tmp_path / "x" / "4.jpg"


def test_csv_without_a_column_is_one_clear_line(tmp_path):
    (tmp_path / "list.csv").write_text("path,expression\nx.jpg,happy\n")
    with pytest.raises(SarganError, match=r"list\.csv: has no column person"):
        read_listing(tmp_path / "list.csv")


def test_kdef_joins_both_sessions_of_a_person(tmp_path):
    touch(tmp_path, "AF01/AF01ANS.JPG", "BF01/BF01HAHL.JPG", "AM02/AM02SUFL.JPG", "A/x.JPG")
    listing = read_listing(tmp_path)
    assert told(listing) == [("AF01ANS.JPG", "F01", "angry"), ("BF01HAHL.JPG", "F01", "happy")]
    assert listing.left_out == {"full profile": 1, "not a name of KDEF": 1}


def test_rafd(tmp_path):
    name = "Rafd{}_{}_Caucasian_female_{}_frontal.jpg"
    touch(tmp_path, name.format("090", "01", "sad"), name.format("045", "02", "contemptuous"))
    touch(tmp_path, name.format("180", "02", "happy"))
    listing = read_listing(tmp_path)
    assert [row[1:] for row in told(listing)] == [("rafd01", "sad")]
    assert listing.left_out == {"expression 'contemptuous'": 1, "full profile": 1}


@pytest.mark.parametrize("layout", ["auto", "kdef", "rafd"])
def test_a_folder_without_photos_says_so(tmp_path, layout):
    with pytest.raises(SarganError, match=r"holds no labelled photo .*--layout"):
        read_listing(tmp_path, layout)
    with pytest.raises(SarganError, match="no such file or folder"):
        read_listing(tmp_path / "none", layout)


@pytest.fixture
def photos(tmp_path):
    """Two photos with a face, one without, one that is damaged."""
    source, astronaut = tmp_path / "source", data.astronaut()
    for path, pixels in (
        ("happy/ann/1.png", astronaut),
        ("sad/bob/2.png", astronaut[:, ::-1]),
        ("sad/bob/3.png", np.zeros((64, 64, 3), np.uint8)),
    ):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(source / path)
    (source / "sad" / "bob" / "4.png").write_bytes(b"\x89PNG")
    return source


def test_prepared_photos_are_found_where_they_lie(photos, tmp_path):
    crops, moved = tmp_path / "crops", tmp_path / "moved"
    command = ["train", "prepare", "--quiet"]
    assert main([*command, str(photos), str(crops)]) == 0
    root, rows = load_photo_rows(crops)
    assert root == photos
    assert [(row.path, row.person, EXPRESSIONS[row.label]) for row in rows] == [
        ("happy/ann/1.png", "ann", "happy"),
        ("sad/bob/2.png", "bob", "sad"),
    ]
    faces = load_shards(crops).crops
    for row, crop in zip(rows, faces[:], strict=True):
        again = aligned_crop(read_photo(root / row.path), row.landmarks)
        assert (torch.from_numpy(again).permute(2, 0, 1) == crop).all()

    photos.rename(moved)
    assert main([*command, str(moved), str(crops)]) == 0
    assert load_photo_rows(crops)[0] == moved

    settings = json.loads((crops / "prepared.json").read_text())
    del settings["source"]
    (crops / "prepared.json").write_text(json.dumps(settings))
    with pytest.raises(SarganError, match="does not say where its photos lie"):
        load_photo_rows(crops)


def test_prepare_then_load(photos, tmp_path, capsys):
    destination = tmp_path / "crops"
    command = ["train", "prepare", photos, destination, "--json"]
    assert main([str(part) for part in command]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["photos"], said["faces"]) == (4, 2)
    reasons = {each["path"]: each["reason"] for each in said["skipped"]}
    assert reasons["sad/bob/3.png"] == "no face found"
    assert "PNG" in reasons["sad/bob/4.png"] or "image" in reasons["sad/bob/4.png"]

    faces = load_faces(destination, tmp_path)
    with pytest.raises(SarganError, match="prepare with --size 192"):
        load_faces(destination, tmp_path, size=192)
    assert faces.paths == ["happy/ann/1.png", "sad/bob/2.png"]
    assert faces.people == ["ann", "bob"]
    assert [EXPRESSIONS[k] for k in faces.labels] == ["happy", "sad"]
    first, second = faces.crops[torch.tensor([0, 1])].float()
    assert first.shape == (3, 160, 160)
    # The mirrored photo gives the mirrored crop, as far as the detector is symmetric itself.
    assert (first - second.flip(-1)).abs().mean() < 0.5 * (first - second).abs().mean()


def test_crops_have_a_size_that_networks_can_halve(photos, tmp_path, capsys):
    assert main(["train", "prepare", str(photos), str(tmp_path / "crops"), "--size", "100"]) == 2
    assert "100 is no multiple of 16" in capsys.readouterr().err
    assert not (tmp_path / "crops").exists()


def test_a_label_is_of_the_face_near_the_middle():
    points = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]])
    middle = Face.from_landmarks(points + 75)
    larger, much_larger = (Face.from_landmarks(points * size) for size in (1.2, 3.5))
    assert preparation.shown_face([larger, middle], 250, 270) is middle
    assert preparation.shown_face([much_larger, middle], 250, 270) is much_larger


def test_prepare_goes_on_and_refuses_what_is_not_its_own(photos, tmp_path, monkeypatch):
    class Counting:
        looks = 0

        def detect(self, image):
            self.looks += 1
            return []

    monkeypatch.setattr(preparation, "PHOTOS_PER_SHARD", 2)
    listed, destination = read_listing(photos).photos, tmp_path / "crops"
    shards = preparation.prepare(listed, photos, destination, Counting(), "1")
    assert next(shards).photos == 2
    shards.close()
    with pytest.raises(SarganError, match="only 2 of 4 photos are prepared"):
        load_shards(destination)
    with pytest.raises(SarganError, match="found by another detector"):
        list(preparation.prepare(listed, photos, destination, Counting(), "2"))
    again = Counting()
    done = list(preparation.prepare(listed, photos, destination, again, "1"))
    assert sum(shard.photos for shard in done) == 4
    assert again.looks == 1  # the first shard was kept, and one photo of the second is damaged
    with pytest.raises(SarganError, match="crops of other photos"):
        list(preparation.prepare(listed[:3], photos, destination, Counting(), "1"))
    with pytest.raises(SarganError, match="holds no prepared faces"):
        load_shards(destination)


def test_damaged_shards_are_one_clear_line_and_made_anew(tmp_path):
    name = ShardName(tmp_path, 0)
    face = {"path": "a.jpg", "person": "ann", "expression": "happy", "landmarks": [[0, 0]] * 5}
    (tmp_path / "prepared.json").write_text(json.dumps({"photos": 2, "source": "photos"}))
    write_shard(name, np.zeros((2, 160, 160, 3), np.uint8), [face, face], [])
    assert len(load_shards(tmp_path).crops) == 2
    np.save(name.crops, np.zeros((3, 160, 160, 3), np.uint8))
    with pytest.raises(SarganError, match=r"00000\.npy: is damaged \(holds 3 crops instead of 2"):
        load_shards(tmp_path)
    name.crops.write_bytes(b"")
    with pytest.raises(SarganError, match=r"00000\.npy: is damaged .*Delete shard_00000\.json"):
        load_shards(tmp_path)
    name.crops.unlink()
    with pytest.raises(SarganError, match=r"00000\.npy: is damaged"):
        load_shards(tmp_path)


def test_crops_of_another_size_are_another_set():
    row = FaceRow("a.jpg", "ann", 1, np.zeros((5, 2), np.float32))
    small, large = (
        FaceSet.labelled(Crops([np.zeros((1, side, side, 3), np.uint8)]), [row])
        for side in (160, 180)
    )
    assert small.digest != large.digest
