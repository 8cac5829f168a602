from __future__ import annotations

import functools
import http.server
import threading
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sargan_plugin import zoo
from sargan_plugin.errors import SarganError
from sargan_plugin.generators import registry
from sargan_plugin.manifest import Manifest, checksum, fetch
from sargan_plugin.zoo import create_generator, generator_names

NAME = "sargan_flow_128.test"


@pytest.fixture
def folder(tmp_path):
    """A weights folder with one small set of weights."""
    generator = create_generator("sargan_flow_128", pretrained=False, max_colour=0.5)
    file = tmp_path / f"{NAME}.safetensors"
    metadata = {"architecture": "sargan_flow_128", "options": '{"max_colour": 0.5}'}
    save_file(generator.state_dict(), file, metadata)
    write_manifest(tmp_path, checksum(file))
    return tmp_path


def write_manifest(folder, sha256, url=""):
    (folder / "manifest.toml").write_text(
        f'default = "{NAME}"\ndefault_detector = "none"\n[detectors]\n'
        f'[weights."{NAME}"]\nfile = "{NAME}.safetensors"\n'
        f'sha256 = "{sha256}"\nlicence = "test"\ndata = "none"\nurl = "{url}"\n'
        'experimental = ["fearful"]\n'
    )


@pytest.mark.parametrize("name", [None, NAME, "sargan_flow_128"])
def test_names_lead_to_the_weights(folder, name):
    generator = create_generator(name, manifest=Manifest(folder))
    assert not generator.training
    assert Manifest(folder).find(name).experimental == ("fearful",)


def test_path_of_a_safetensors_file_works(folder):
    path = folder / f"{NAME}.safetensors"
    image, condition = torch.zeros(1, 3, 64, 64), torch.eye(7)[:1]
    by_path, by_name = create_generator(path), create_generator(NAME, manifest=Manifest(folder))
    deltas = [generator.edit(image, condition).delta for generator in (by_path, by_name)]
    assert torch.equal(*deltas)
    assert by_path.max_colour == by_name.max_colour == 0.5  # as the file says


def test_one_flipped_byte_refuses_to_load(folder):
    path = folder / f"{NAME}.safetensors"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(SarganError, match=r"damaged.*SHA-256"):
        create_generator(NAME, manifest=Manifest(folder))


def test_missing_weights_are_an_error_and_never_random(folder):
    (folder / f"{NAME}.safetensors").unlink()
    with pytest.raises(SarganError, match="missing"):
        create_generator(NAME, manifest=Manifest(folder))


def test_unknown_weights_suggest_the_closest(folder):
    with pytest.raises(SarganError, match=f"mean '{NAME}'"):
        create_generator("sargan_flow_12.test", manifest=Manifest(folder))


def test_unknown_architecture_suggests_the_closest():
    with pytest.raises(SarganError, match="mean 'usgan_128'"):
        create_generator("usgan_12", pretrained=False)


def test_negative_options_are_one_line():
    with pytest.raises(SarganError, match=r"stargan_128 cannot be built .*: blocks cannot be neg"):
        create_generator("stargan_128", pretrained=False, blocks=-1)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_file_that_is_no_safetensors_is_one_line(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(SarganError, match=r"bad\.safetensors") as caught:
        create_generator(path)
    assert "\n" not in str(caught.value)


def test_weights_of_another_architecture_are_one_line(tmp_path):
    path = tmp_path / "odd.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"architecture": "usgan_128"})
    with pytest.raises(SarganError, match="cannot be loaded as usgan_128") as caught:
        create_generator(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "default = 3", "default = 3\ndefault_detector = 4\nweights = 5", "not toml ["],
)
def test_broken_manifest_is_one_line(tmp_path, text):
    (tmp_path / "manifest.toml").write_text(text)
    with pytest.raises(SarganError, match=r"manifest\.toml"):
        Manifest(tmp_path)


@pytest.fixture
def server(tmp_path):
    """A local HTTP server over ``tmp_path / "served"``."""
    (tmp_path / "served").mkdir()
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served")
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield tmp_path / "served", f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_weights_are_fetched_once_into_the_cache(folder, server, tmp_path, monkeypatch):
    served, url = server
    file = folder / f"{NAME}.safetensors"
    sha256 = checksum(file)
    file.rename(served / file.name)
    write_manifest(folder, sha256, f"{url}/{file.name}")
    monkeypatch.setenv("SARGAN_CACHE", str(tmp_path / "cache"))
    create_generator(NAME, manifest=Manifest(folder))
    (served / file.name).unlink()
    create_generator(NAME, manifest=Manifest(folder))
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [file.name]


def test_tampered_download_leaves_nothing_behind(server, tmp_path):
    served, url = server
    (served / "w.safetensors").write_bytes(b"tampered")
    with pytest.raises(SarganError, match="SHA-256"):
        fetch(f"{url}/w.safetensors", tmp_path / "cache" / "w.safetensors", "0" * 64)
    assert list((tmp_path / "cache").iterdir()) == []


def test_failed_download_names_the_address(server, tmp_path):
    with pytest.raises(SarganError, match=r"nothing\.safetensors.*404"):
        fetch(f"{server[1]}/nothing.safetensors", tmp_path / "cache" / "w", "0" * 64)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_bundled_file_needs_no_home(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    for variable in ("SARGAN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    manifest = Manifest()
    assert manifest.path_of(manifest.find()).is_file()


def test_without_a_name_it_is_the_default_architecture_that_is_built():
    built = create_generator(pretrained=False)
    assert type(built) is type(create_generator())


def test_broken_plugin_is_one_warning(monkeypatch):
    entry = EntryPoint("broken", "no_such_module_anywhere", zoo.ENTRY_POINT_GROUP)
    monkeypatch.setattr(zoo, "entry_points", lambda group: [entry])
    zoo.register_generators.cache_clear()
    with pytest.warns(UserWarning, match="'broken' could not be loaded"):
        names = generator_names()
    zoo.register_generators.cache_clear()
    assert {"sargan_128", "usgan_128", "stargan_128", "sargan_flow_128"} <= set(names)
    assert "resnet18" not in names


def test_generators_of_another_package_are_found_by_its_entry_point(monkeypatch, tmp_path):
    (tmp_path / "others_generators.py").write_text(
        "from sargan_plugin.generators.registry import register_generator\n"
        "from sargan_plugin.generators.sargan_flow import SARGANFlow\n"
        "@register_generator\n"
        "def others_64(channels=4):\n"
        "    return SARGANFlow(channels=channels, blocks=1, crop_size=64)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("others", "others_generators", zoo.ENTRY_POINT_GROUP)
    monkeypatch.setattr(zoo, "entry_points", lambda group: [entry])
    zoo.register_generators.cache_clear()
    try:
        assert create_generator("others_64", pretrained=False, channels=8).crop_size == 64
        with pytest.raises(SarganError, match="others_64 cannot be built with"):
            create_generator("others_64", pretrained=False, width=8)

        def others_64():
            """Of the same name, in another module."""

        with pytest.raises(SarganError, match="others_64 is a generator of others_generators"):
            registry.register_generator(others_64)
    finally:
        zoo.register_generators.cache_clear()
        registry.BUILDERS.pop("others_64")
