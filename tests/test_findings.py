"""The room of surprises is in order: listed, executable, told at the top. Nothing here runs a finding."""

import os
import re
import subprocess

import pytest
from links import ROOT

FINDINGS = ROOT / "findings"
SCRIPTS = sorted(FINDINGS.glob("*.sh"))


def test_the_page_lists_every_script_once_and_no_other():
    page = (FINDINGS / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[([\w-]+)\]\(([\w-]+)\.sh\) \| \S", page, flags=re.MULTILINE)
    assert SCRIPTS
    assert rows == [(path.stem, path.stem) for path in SCRIPTS]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_runs_and_says_what_it_found(path):
    assert os.access(path, os.X_OK)
    subprocess.run(["sh", "-n", path], check=True)  # reads it, runs nothing
    script = path.read_text(encoding="utf-8")
    top, _, rest = script.partition("\n\nset -eu\n")
    assert rest
    says = "\n".join(line[2:] for line in top.splitlines()[1:])
    assert re.match(r"\S+ \d+(\.\d+)+\b", says)  # whose behaviour, and which version's
    assert re.search(r"^It hurts who ", says, flags=re.MULTILINE)
    assert re.search(r"^Seen\b", says, flags=re.MULTILINE)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_works_in_a_room_of_its_own_with_public_packages_pinned(path):
    script = path.read_text(encoding="utf-8")
    assert "room=$(mktemp -d)\ntrap 'rm -rf \"$room\"' EXIT\n" in script
    (packages,) = re.findall(r"/pip\" install -qq (.+)", script)
    assert re.fullmatch(r"(\"[\w[\]-]+(==|<)[\d.]+\" ?)+", packages)
    assert "selfattention" not in script
    assert "The behaviour has changed." in script
