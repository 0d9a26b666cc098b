"""A style: a skeleton with places in braces for lines, and a way to be called."""

from dataclasses import dataclass, field

from strangers import lines

NUMPY = {
    "scores": lines.NUMPY_SCORES,
    "scale": lines.NUMPY_SCALE,
    "softmax": lines.NUMPY_SOFTMAX,
    "hide": lines.NUMPY_HIDE,
    "triangle": lines.NUMPY_TRIANGLE,
    "out": lines.NUMPY_OUT,
    "project": lines.PROJECT,
    "split": lines.NUMPY_SPLIT,
    "merge": lines.NUMPY_MERGE,
    "last": lines.OUTPUT,
    "carry": lines.CARRY,
    "loop": lines.LOOP,
}
TORCH = {
    "scores": lines.TORCH_SCORES,
    "scale": lines.TORCH_SCALE,
    "softmax": lines.TORCH_SOFTMAX,
    "hide": lines.TORCH_HIDE,
    "triangle": lines.TORCH_TRIANGLE,
    "out": lines.TORCH_OUT,
    "project": lines.PROJECT,
    "split": lines.TORCH_SPLIT,
    "merge": lines.TORCH_MERGE,
    "last": lines.OUTPUT,
    "carry": lines.TORCH_CARRY,
    "loop": lines.LOOP,
}
TOP = {
    "numpy": "import numpy as np\n\n\n",
    "torch": "import math\n\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\n",
}


@dataclass(frozen=True)
class Style:
    """A skeleton with places in braces for lines; `lacks` are mistakes that it cannot make or show."""

    name: str
    library: str
    skeleton: str
    lacks: frozenset = field(default=frozenset())
    replaced: tuple = ()  # pairs of texts, done to every line at last
    known: dict = field(default_factory=dict, hash=False, compare=False)  # its lines, where it has its own

    called: str = ""  # the function, where it is not the first

    @property
    def lines(self) -> dict[str, dict[str, str]]:
        """The lines for each place."""
        return self.known or (NUMPY if self.library == "numpy" else TORCH)

    @property
    def slots(self) -> list[str]:
        """The places that it has."""
        return [slot for slot in self.lines if "{" + slot + "}" in self.skeleton]

    def source(self, chosen: dict[str, str]) -> str:
        """A module with the function, `chosen` saying which line is in which place; others are right."""
        text = self.skeleton
        for slot in self.slots:
            put = self.lines[slot][chosen.get(slot, "")]
            for before, after in self.replaced:
                put = put.replace(before, after)
            (line,) = (x for x in text.split("\n") if "{" + slot + "}" in x)
            indent = line[: len(line) - len(line.lstrip())]
            body = "\n".join(indent + x for x in put.split("\n")) if put else ""
            text = text.replace(line, body)
        return TOP[self.library] + "\n".join(x for x in text.split("\n") if x.strip()) + "\n"
