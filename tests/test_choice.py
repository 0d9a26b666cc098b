"""One door: whoever is fastest computes, and the answer is that of the one whom it names."""

import doctest
import json
import subprocess
import sys
from collections import defaultdict
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from test_implementations import CASES, HALF, answers, assert_within_budget

import selfattention
from selfattention import masks
from selfattention.implementations import IMPLEMENTATIONS, Implementation, choice
from selfattention.implementations.choice import fastest, fastest_backward

RACE = json.loads(files("selfattention").joinpath("data/race-cpu.json").read_text(encoding="utf-8"))
CHOOSERS = {"attention": fastest, "attention_backward": fastest_backward}


class Door:
    """The door as an implementation, for arrays of one library."""

    load = staticmethod(lambda: selfattention)
    device = "cpu"

    def __init__(self, library):
        self.library = library


@pytest.fixture(params=["numpy", "torch"])
def door(request):
    return Door(request.param)


@pytest.fixture
def without(monkeypatch):
    """As on a machine on which some implementations cannot run."""
    why_not = Implementation.why_not

    def refuse(*names):
        monkeypatch.setattr(
            Implementation, "why_not", lambda i: "not here" if i.name in names else why_not(i)
        )
        for cached in choice._choice, choice._function:
            cached.cache_clear()

    yield refuse
    monkeypatch.undo()
    refuse()


def arrays(b=1, h=8, n=1, m=1, d_k=64, d_v=64, g=None, dtype=np.float32):
    """Of these shapes; not a number of them is stored."""
    g = g or h
    shapes = (b, h, n, d_k), (b, g, m, d_k), (b, g, m, d_v)
    return [np.broadcast_to(np.zeros((), dtype), shape) for shape in shapes]


def tensors(*arguments, dtype=torch.float32, device="cpu", **sizes):
    return [torch.zeros((), dtype=dtype, device=device).expand(x.shape) for x in arrays(*arguments, **sizes)]


# The answer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_door_keeps_the_contract(door, case, dtype):
    assert_within_budget(answers(door, case, dtype), case, dtype)


@pytest.mark.parametrize("case", HALF[:6], ids=str)
def test_the_door_takes_halves(door, case):
    assert_within_budget(answers(door, case, torch.float16), case, torch.float16)


@pytest.mark.parametrize("computes", ["matrix_tiled", "numba_tiled", "numpy_tiled", "numpy_direct"])
@pytest.mark.parametrize("case", [CASES[2], CASES[4], CASES[22], CASES[36]], ids=str)
def test_the_answer_is_bit_for_bit_that_of_the_one_it_names(computes, case, without, monkeypatch):
    """Each in turn is made the fastest that runs."""
    if computes not in IMPLEMENTATIONS or (why := IMPLEMENTATIONS[computes].why_not()):
        pytest.skip(f"{computes}: {why if computes in IMPLEMENTATIONS else 'there is none yet'}")
    without(*{"matrix_tiled", "numba_tiled"} - {computes})
    few = 10**9 if computes == "numpy_direct" else 0
    monkeypatch.setattr(choice, "FEW", {"numpy": dict.fromkeys(CHOOSERS, few)})
    Q, K, V = (x.astype(np.float32) for x in case.inputs()[:3])
    assert {chooser(Q, K, V).name for chooser in CHOOSERS.values()} == {computes}
    ours, theirs = (answers(x, case, torch.float32) for x in (Door("numpy"), IMPLEMENTATIONS[computes]))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_gradients_come_through_the_door():
    Q, K, V = (torch.randn(2, 33, 4, requires_grad=True) for _ in range(3))
    O, L = selfattention.attention(Q, K, V, mask=masks.causal)
    dO = torch.randn_like(O)
    recorded = torch.autograd.grad(O, (Q, K, V), dO)
    given = selfattention.attention_backward(dO, Q, K, V, O, L, mask=masks.causal)
    for one, other in zip(recorded, given, strict=True):
        torch.testing.assert_close(one, other)


Q = np.zeros((2, 5, 4))
MISTAKES = [
    ((Q.tolist(), Q, Q), {}),
    ((None, None, None), {}),
    ((Q, torch.zeros(2, 5, 4), Q), {}),
    ((torch.zeros(2, 5, 4), Q, Q), {}),
    ((Q.astype(int), Q, Q), {}),
    ((Q, Q.astype(np.float32), Q), {}),
    ((Q[0, 0], Q, Q), {}),
    ((Q, Q[0, 0], Q), {}),
    ((Q[..., :3], Q, Q), {}),
    ((Q, Q, Q[:, :3]), {}),
    ((Q[..., :0], Q[..., :0], Q), {}),
    ((Q, Q, Q), {"mask": np.ones((5, 5))}),
    ((Q, Q, Q), {"bias": np.zeros((3, 5))}),
    ((Q, Q, Q), {"scale": np.inf}),
    ((Q, Q, Q), {"softcap": 0}),
    ((Q, Q, Q), {"sink": np.zeros(3)}),
]


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_a_mistake_is_refused_in_the_contracts_words(number):
    arguments, options = MISTAKES[number]
    name = "torch_direct" if isinstance(arguments[0], torch.Tensor) else "numpy_direct"
    with pytest.raises((TypeError, ValueError)) as theirs:
        IMPLEMENTATIONS[name].load().attention(*arguments, **options)
    with pytest.raises(theirs.type) as ours:
        selfattention.attention(*arguments, **options)
    computing = name if isinstance(arguments[0], torch.Tensor) else fastest(Q, Q, Q).name
    assert str(ours.value) == str(theirs.value).replace(name, computing)
    if not options and arguments[0] is not None and np.size(arguments[0]):
        with pytest.raises(theirs.type):
            fastest(*arguments)


# Who computes -----------------------------------------------------------------------------------------


LAST = "numpy_direct", "numpy_tiled", "torch_direct", "torch_tiled"  # they run everywhere
PASSES = {"attention": "forward", "attention_backward": "forward+backward"}


def raced(function):
    """(workload, arrays, seconds of each of ours): every row of the race on one thread."""
    seconds = defaultdict(dict)
    for row in RACE["rows"]:
        ours = row["candidate"] in IMPLEMENTATIONS and row["workload"] != "block"  # it has projections, too
        if ours and row["threads"] == 1 and row["pass"] == PASSES[function]:
            library = IMPLEMENTATIONS[row["candidate"]].library
            seconds[row["workload"], row["n"], library][row["candidate"]] = row["seconds"]
    for (workload, n, library), times in seconds.items():
        sizes = RACE["workloads"][workload]
        m = n if sizes["m"] == "n" else sizes["m"]
        shape = sizes["b"], sizes["h"], n, m, sizes["d_k"], sizes["d_v"], sizes["g"]
        yield workload, {"numpy": arrays, "torch": tensors}[library](*shape), times


@pytest.mark.parametrize("function", CHOOSERS)
def test_the_order_is_that_of_the_race(function, monkeypatch):
    """Whoever is chosen, and then whoever is chosen without him, took at most 10 % more than the fastest.

    Of those that were raced, and whatever could run on this machine.
    """
    left, compared = {}, 0
    monkeypatch.setattr(Implementation, "why_not", lambda i: None if i.name in left else "not in the race")
    monkeypatch.setattr(Implementation, "load", lambda i: i)
    for workload, (Q, K, V), times in raced(function):
        chosen, left = "", dict(times)
        while len(left) > 1 and chosen not in LAST:
            choice._choice.cache_clear()
            chosen = CHOOSERS[function](Q, K, V).name
            assert left[chosen] <= 1.1 * min(left.values()), (workload, Q.shape, chosen, left)
            compared += 1
            del left[chosen]
    choice._choice.cache_clear()
    assert compared > 10


def test_a_machine_without_a_compiler_says_so_and_computes(without):
    X = arrays(n=500, m=500)
    without("matrix_tiled", "numba_tiled")
    chosen = fastest(*X)
    assert chosen.name == "numpy_tiled"
    assert chosen.passed_over["numba_tiled"] == "not here"
    assert "not numba_tiled: not here" in str(chosen)
    assert str(chosen).startswith("numpy_tiled: ")


def test_a_library_that_does_not_load_is_passed_over(without, monkeypatch):
    """Numba refuses a NumPy that is too new, when it is imported."""
    without("matrix_tiled")
    load = Implementation.load

    def refused(implementation):
        if implementation.name == "numba_tiled":
            raise ImportError("Numba needs NumPy 2.4 or less")
        return load(implementation)

    monkeypatch.setattr(Implementation, "load", refused)
    assert fastest(*arrays()).name == "numpy_direct"
    assert fastest(*arrays()).passed_over["numba_tiled"] == "Numba needs NumPy 2.4 or less"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_matrix_tiles_come_first_but_for_float64(dtype, monkeypatch):
    """Whatever this machine has; they multiply bfloat16, and three such numbers make one of float32."""
    here = {"matrix_tiled": Implementation("matrix_tiled", "numpy"), **IMPLEMENTATIONS}
    monkeypatch.setattr(choice, "IMPLEMENTATIONS", here)
    name = "numpy_direct"  # in its place, which every machine can load
    monkeypatch.setattr(Implementation, "why_not", lambda i: None)
    monkeypatch.setattr(Implementation, "load", lambda i: IMPLEMENTATIONS[name])
    choice._choice.cache_clear()
    chosen = fastest(*arrays(dtype=dtype))
    choice._choice.cache_clear()
    assert (chosen.name == "matrix_tiled") == (dtype != np.float64)
    assert chosen.passed_over.keys() == ({"matrix_tiled"} if dtype == np.float64 else set())


def test_triton_comes_first_on_a_gpu_where_it_can(monkeypatch):
    """Said of a kind of arrays, for there is no GPU everywhere."""
    kind = "torch", "cuda", torch.float16, False, True
    monkeypatch.setattr(Implementation, "why_not", lambda i: None)
    monkeypatch.setattr(Implementation, "load", lambda i: type("Kernel", (), {"WIDEST": 256}))
    choose = choice._choice.__wrapped__
    assert choose(*kind, 256).name == "triton_fused_cuda"
    assert choose(*kind, 257).name == "torch_direct_cuda"
    assert choose(*kind, 257).passed_over == {"triton_fused_cuda": "heads are 257 wide; it takes 256 or less"}
    monkeypatch.setattr(Implementation, "why_not", lambda i: "no CUDA device")
    assert choose(*kind, 64).name == "torch_direct_cuda"
    assert choose("torch", "cuda", torch.float16, False, False, 64).name == "torch_tiled_cuda"


def test_many_scores_are_never_kept(without):
    """Of few queries, too, when there are many heads and keys."""
    without("matrix_tiled", "numba_tiled")
    assert fastest(*arrays(h=32, n=8, m=2**16)).name == "numpy_direct"
    assert fastest(*arrays(h=32, n=8, m=2**17)).name == "numpy_tiled"
    assert fastest(*tensors(h=32, n=8, m=2**17)).name == "torch_tiled"


def test_every_name_is_an_implementation_or_will_be():
    assert choice.WHY.keys() - {"matrix_tiled"} <= IMPLEMENTATIONS.keys()
    assert "triton_fused" not in choice.WHY  # its interpreter


def test_the_door_loads_what_it_needs_and_no_more():
    """Nothing for its name; no torch for NumPy's arrays."""
    code = """
import sys
import numpy as np
import selfattention
print("numba" in sys.modules, "selfattention.implementations" in sys.modules)
selfattention.fastest(*np.ones((3, 1, 2, 4)))
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False"]


def test_the_examples_print_what_they_say():
    """Of the functions, and of the package's page in the book."""
    results = doctest.testmod(choice)
    assert results.attempted > 10
    assert results.failed == 0
    page = Path(__file__).parents[1] / "book/api.md"
    (block,) = page.read_text(encoding="utf-8").split("```python\n")[1:]
    example = doctest.DocTestParser().get_doctest(block.partition("```")[0], {}, page.name, None, 0)
    assert doctest.DocTestRunner().run(example) == (0, 5)
