"""Notebooks for Colab and Binder: all, with a first cell that installs what each needs.

They open notebooks from a branch of the public repository, so the publishing workflow pushes these copies
to a branch of their own. The chapters themselves stay as they are: a clone has the package installed.
"""

import copy
import json
import re
import shutil

from links import ROOT

BRANCH = "launch"
HEAVY = ("matplotlib", "numba", "torch", "triton")  # what a chapter may need beside the package
INSTALL = """\
# The course as it was when its page was built, and what this chapter needs.
!git clone --quiet {repository} selfattention-course
%cd -q selfattention-course/notebooks
!git checkout --quiet {revision}
%pip install --quiet .. {libraries}"""


def write_launch_copies(target, repository, revision):
    """Write the branch: `notebooks/` as the chapters' pages name them, and the Python that Binder takes."""
    shutil.rmtree(target, ignore_errors=True)
    (target / "notebooks").mkdir(parents=True)
    (target / "runtime.txt").write_text("python-3.11\n", encoding="utf-8")
    folder = ROOT / "notebooks"
    for path in sorted([*folder.glob("entry_*.ipynb"), *folder.glob("[0-9][0-9]_*.ipynb")]):
        notebook = with_install_cell(json.loads(path.read_text(encoding="utf-8")), repository, revision)
        text = json.dumps(notebook, ensure_ascii=False, indent=1)
        (target / "notebooks" / path.name).write_text(text + "\n", encoding="utf-8")


def with_install_cell(notebook, repository, revision):
    """A copy of the notebook that clones the course, goes to its folder, and installs the package there.

    In the clone the files that a chapter reads lie where it looks for them.
    """
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    libraries = [name for name in HEAVY if re.search(rf"\b{name}\b", code)]
    install = {
        "id": "install-the-course",
        "cell_type": "code",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": INSTALL.format(
            repository=repository, revision=revision, libraries=" ".join(libraries)
        ).splitlines(keepends=True),
    }
    result = copy.deepcopy(notebook)
    result["cells"].insert(0, install)
    return result
