"""The public names are a promise: a change here needs a line in the changelog."""

from __future__ import annotations

from importlib.metadata import entry_points

import sargan_plugin

NAMES = [
    "EXPRESSIONS",
    "Edit",
    "EditResult",
    "EditedFace",
    "ExpressionEditor",
    "Face",
    "FaceDetector",
    "Generator",
    "RandomExpression",
    "SarganError",
    "VideoEditor",
    "__version__",
    "create_generator",
]


def test_public_names_are_as_stored():
    assert sorted(sargan_plugin.__all__) == sorted(NAMES)


def test_every_public_name_can_be_had():
    for name in NAMES:
        assert getattr(sargan_plugin, name) is not None


def test_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert sargan_plugin.__version__ == version("sargan-plugin")


def test_entry_point_leads_to_the_editor():
    (entry,) = entry_points(group="image_editing.transforms", name="expression_editor")
    assert entry.load() is sargan_plugin.ExpressionEditor
