"""The figures that limit what may be painted in a mouth."""

from __future__ import annotations

import sys

import torch

from sargan_plugin.generators import skin
from sargan_training import mouth_colours
from sargan_training.data import MARGIN

pytest_plugins = ["lfw_stage"]


def test_a_mouth_is_measured_in_shares_of_its_skin():
    skin_tone = torch.tensor([200, 140, 110])
    side, mouth = 128 + 2 * MARGIN, slice(MARGIN + 75, MARGIN + 95)
    crops = skin_tone.view(1, 3, 1, 1).expand(3, 3, side, side).clone().to(torch.uint8)
    crops[1, :, mouth] = 150  # grey teeth
    crops[2, 1, mouth] = 100  # pink lips
    brightness, saturation, hue, own = mouth_colours.mouths(crops)
    torch.testing.assert_close(own[0].flatten() * 255, skin_tone.float())
    torch.testing.assert_close(saturation[0], torch.ones_like(saturation[0]), atol=1e-4, rtol=0)
    assert saturation[1].abs().max() < 1e-4
    for mouth, expected in zip(brightness[:2], (skin.light(own)[0], 150 / 255), strict=True):
        torch.testing.assert_close(mouth, torch.full_like(mouth, float(expected)))
    assert hue[0].abs().max() < 1e-3 and hue[2].max() < -0.1


def test_the_tables_hold_the_quartiles_of_each_span(data, tmp_path, monkeypatch, capsys):
    table = mouth_colours.quartiles(
        "", torch.arange(100) / 50, torch.arange(100.0), (0, 0.1, 1, 2), {"double": lambda x: 2 * x}
    )
    cells = [list(column.cells) for column in table.columns]
    assert cells[2] == ["45", "50"]  # the first five are too few
    assert cells[4] == ["27.00", "74.50"]
    assert cells[6] == ["1.08", "2.98"]
    monkeypatch.setattr(
        sys, "argv", ["mouth_colours", "--data", str(data), "--run", str(tmp_path / "run")]
    )
    mouth_colours.main()
    assert "Saturation of mouths" in capsys.readouterr().out
