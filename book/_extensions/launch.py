"""The notebooks that the site hands out: the students', which any program shows right without an extension.

- to download, in the place of the sources with their directives: a page's button leads there, and so does the
  line that stands where the page has no Python;
- for Colab and Binder, which open notebooks from a branch of the public repository: the publishing workflow
  pushes these to a branch of their own.

Where the repository has an address, a cell installs the course's package from there.
"""

import json
import shutil
import sys

import nbformat
from links import ROOT

sys.path.append(str(ROOT / "notebooks"))
from execute import chapters, entries
from students import NEEDS, student

BRANCH = "launch"
RAN = ROOT / "tests/classroom/students.json"  # which libraries each page loaded
# What brings a library that is imported under another name; None: it comes with another.
BROUGHT_BY = {"sklearn": "scikit-learn", "PIL": "pillow", "IPython": None, "llvmlite": None}
INSTALL = """\
# The course's package as it was when this page was built, and what else the page needs.
%pip install --quiet "selfattention @ git+{repository}@{revision}" {libraries}"""
NEXT_CELL = {
    "en": "The next cell installs the course's package.",
    "zh": "下一个单元格安装课程的软件包。",
}


def write_launch_copies(target, repository, revision):
    """Write the branch: `notebooks/` as the pages name them, and the Python that Binder takes."""
    shutil.rmtree(target, ignore_errors=True)
    (target / "notebooks").mkdir(parents=True)
    (target / "runtime.txt").write_text("python-3.11\n", encoding="utf-8")
    for path in [*entries(), *chapters()]:
        nbformat.write(handed_out(path, repository, revision), target / "notebooks" / path.name)


def write_downloads(site, repository, revision):
    """The same over the sources that Sphinx has copied into the site."""
    for path in [*entries(), *chapters()]:
        copied = site / "_sources/notebooks" / path.name
        if copied.exists():
            nbformat.write(handed_out(path, repository, revision), copied)


def handed_out(path, repository, revision):
    """A page's notebook; with a cell that installs what it needs, if there is somewhere to install from."""
    if not repository:
        return student(path, NEEDS)
    notebook = student(path, NEXT_CELL)
    libraries = " ".join(loaded(path.stem))
    install = INSTALL.format(repository=repository, revision=revision, libraries=libraries)
    title, note, *rest = notebook.cells
    notebook.cells = [title, note, nbformat.v4.new_code_cell(install, id="install-the-course"), *rest]
    return notebook


def loaded(page):
    """What to install for the libraries that a page loaded, beside the package; Jupyter's kernel is there."""
    names = json.loads(RAN.read_text(encoding="utf-8"))["pages"][page]["libraries"]
    return [brought for name in names if (brought := BROUGHT_BY.get(name, name))]
