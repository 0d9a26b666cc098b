"""What the README shows is what happens, and what it links to is there."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_file_that_is_named_exists(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    paths = [path for path in re.findall(r"`([\w./-]+/[\w./-]*|[\w-]+\.\w+)`", text) if "<" not in path]
    for name in [*links, *paths]:
        assert (ROOT / name).exists() or name.startswith(("_build", ".venv")) or _in_src(name), name


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_room_of_the_package_is_named(page):
    """In the README's table, and where CONTRIBUTING says which way imports run."""
    text = (ROOT / page).read_text(encoding="utf-8")
    part = (
        text.partition("## Which way imports run")[2].partition("\n## ")[0] or text.partition("| where |")[2]
    )
    rooms = [
        path.stem
        for path in (ROOT / "src/selfattention").iterdir()
        if path.name[0] not in "_." and path.suffix != ".typed"
    ]
    missing = [room for room in rooms if not re.search(rf"\b{room}\b", part)]
    assert missing == []


def _in_src(name):
    return any((ROOT / "src/selfattention" / part / name).exists() for part in ("", "formulas"))


def test_the_page_about_somebodys_own_attention_prints_what_it_says():
    """All blocks in turn, as a reader runs them; the last is the fixture's, which its own test runs."""
    text = (ROOT / "book/is_my_attention_right.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    *examples, fixture = blocks
    page = doctest.DocTestParser().get_doctest("\n".join(examples), {}, "page", "page", 0)
    results = doctest.DocTestRunner().run(page)
    assert results.attempted >= 15
    assert results.failed == 0
    documented = (ROOT / "src/selfattention/examining/fixture.py").read_text(encoding="utf-8")
    for line in filter(str.strip, fixture.splitlines()):
        assert line in documented


def test_the_example_prints_what_it_says():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    example = doctest.DocTestParser().get_doctest(block, {}, "README.md", "README.md", 0)
    results = doctest.DocTestRunner().run(example)
    assert results.attempted >= 4
    assert results.failed == 0
