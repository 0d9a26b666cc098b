"""What `examine` makes of the corpus: `make strangers` prints the table.

python -m strangers.measure [tuned | counted] [--each]
"""

import re
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from statistics import median

from selfattention.examine import examine
from selfattention.examining.report import Examined, Status
from selfattention.trained.progress import with_bar
from strangers import lines, of_caches, of_pictures, of_positions
from strangers.corpus import Written, corpus

CALLED = lines.CALLED | of_positions.CALLED | of_caches.CALLED | of_pictures.CALLED
KINDS = [
    "wrong, named",
    "wrong, one of two named",
    "wrong, another name",
    "wrong, no name",
    "wrong, called right",
    "wrong, not taken",
    "right, called right",
    "right, blamed",
    "right, not taken",
]


def verdict(stranger: Written, folder: Path) -> Examined:
    """The verdict on a stranger, read from a file of its own."""
    path = folder / f"stranger_{abs(hash(stranger))}.py"
    path.write_text(stranger.source, encoding="utf-8")
    return examine(f"{path}:{stranger.function}")


def kind(stranger: Written, said: Examined) -> str:
    """One of KINDS."""
    if not stranger.mistakes:
        return f"right, {['called right', 'blamed', 'not taken'][said.status]}"
    if said.status is Status.CANNOT_TELL:
        return "wrong, not taken"
    if said.status is Status.RIGHT:
        # Dot scores without a root are Luong's; the verdict says so, and that is all that is wrong.
        by_luong = stranger.mistakes == {"no scale"} and "without a root" in said.title
        return "wrong, named" if by_luong else "wrong, called right"
    return named(stranger, said)


def named(stranger: Written, said: Examined) -> str:
    """How well a wrong one's mistakes are named, in the best of the explanations that are offered."""
    missing = {mistake: CALLED[mistake] for mistake in stranger.mistakes}
    text = said.title + " ".join(said.paragraphs)
    best = 0
    for names in said.names:
        found = {m for m, words in missing.items() if any(re.search(words, name) for name in names)}
        luong = {"no scale"} & set(missing) if "without a root" in text else set()
        if found | luong == set(missing) and len(names) <= len(missing):
            return "wrong, named"
        best = max(best, len(found | luong))
    if not said.names or not said.names[0]:
        return "wrong, no name"
    return "wrong, one of two named" if best else "wrong, another name"


def used() -> float:
    """Seconds of one processor that this process has used, and those that it has started and seen end."""
    return sum(use.ru_utime + use.ru_stime for use in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN)))


def measured(half: list[Written], tell=lambda *of: None) -> Counter:
    """How many of each kind; `tell` hears each, its verdict, its kind and a processor's seconds."""
    counted = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for stranger in with_bar(half, "strangers"):
            began = used()
            said = verdict(stranger, Path(folder))
            which = kind(stranger, said)
            tell(stranger, said, which, used() - began)
            counted[which] += 1
    return counted


def main(which="", each="") -> None:
    import torch

    torch.set_num_threads(1)  # loaded once, for all processes that are forked from here
    halves = {
        "tuned": [s for s in corpus() if s.tuned_on],
        "counted": [s for s in corpus() if not s.tuned_on],
    }
    seconds = defaultdict(list)

    def tell(stranger, said, kind_of, took):
        seconds[stranger.what].append(took)
        if each and kind_of not in ("wrong, named", "right, called right"):
            print(f"\n{kind_of}: {stranger.name} ({took:.1f} s)\n{said}")

    for name in [which] if which else halves:
        seconds.clear()
        counted = measured(halves[name], tell)
        wrong = sum(n for k, n in counted.items() if k.startswith("wrong"))
        taken = sum(n for k, n in counted.items() if "not taken" not in k)
        print(f"\n{name}: {len(halves[name])} strangers, {wrong} of them wrong")
        for k in KINDS:
            print(f"  {k:26}{counted[k]:5}")
        share, reach = counted["wrong, named"] / max(wrong, 1), taken / len(halves[name])
        print(f"  named {share:.1%} of the wrong, took {reach:.1%}")
        print("  seconds of one processor for a function      median   longest")
        for what, all_ in [*seconds.items(), ("all", [s for of in seconds.values() for s in of])]:
            print(f"    {what:24} {len(all_):5} of them {median(all_):10.2f} {max(all_):9.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
