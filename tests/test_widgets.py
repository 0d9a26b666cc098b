"""The touchable formulas: functions in node, and widgets in a browser, against the package."""

import inspect
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import widget_numbers
from bs4 import BeautifulSoup
from examples import CALLS, EXAMPLES
from links import ROOT
from test_browser import _browser
from widget_pages import BY_NAME, IN_THE_PAGE, WIDGETS, draw

from selfattention import clusters, dialects, formulas
from selfattention.trained import reactions

SITE = ROOT / "_build/html"
HERE = Path(__file__).parent
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(not NODE, reason="node is not installed")


@cache
def starts(name):
    """The numbers that a widget starts from."""
    return widget_numbers.NUMBERS[name]()


def node(script, text):
    """What the script prints, once it has read `text`."""
    command = [NODE, HERE / f"widgets/{script}.mjs"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
def test_a_cell_shows_the_power_of_ten_whole():
    """1e40 was shown as 1e+4: the zeros of its power had been taken for decimals."""
    parts = (ROOT / "book/widgets/parts.mjs").as_uri()
    shown = "[1e40, -2e-300, 123456.5, 7, -1.5e10].map(short).join()"
    script = f"import {{ short }} from '{parts}'; console.log({shown})"
    done = subprocess.run(
        [NODE, "--input-type=module", "-e", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1e+40,0,123456.5,7,−1.5e+10"


# ---- the functions

EXPORT = re.compile(r"^export (?:const|function) (\w+)", re.MULTILINE)
NAMES = EXPORT.findall((ROOT / "book/widgets/attention.mjs").read_text(encoding="utf-8"))
MEMORY = {"projections", "self_attention", "multi_head_attention"}  # last in JavaScript, by name in Python


def known_answers(rng):
    """(function, arguments) for every example of the package, and for the hard rows of the softmax."""
    for example in EXAMPLES:
        if example.function in NAMES:
            given = example.arguments(rng, np.float64)
            order = inspect.signature(getattr(formulas, example.function)).parameters
            yield example.function, [given[name] for name in order if name in given]
    for name in CALLS.keys() & set(NAMES):
        order = inspect.signature(getattr(formulas, name)).parameters
        yield name, [CALLS[name][argument] for argument in order]
    hard = np.array([[-np.inf] * 3, [1000.0, 1001, 1002], [-np.inf, 0, 0], [-1e3, 0, 1e3]])
    yield "softmax", [hard]
    yield "log_sum_exp", [hard]
    yield "entropy", [np.array([[1.0, 0, 0], [0.5, 0.5, 0]])]
    nobody = np.array([[False] * 7, [True] * 7] + [[False] * 6 + [True]] * 3)
    Q, K, V = (rng.normal(size=shape) for shape in [(5, 3), (7, 3), (7, 11)])
    yield "masked_attention", [Q, K, V, nobody]


@needs_node
def test_the_functions_answer_as_the_package_does(rng):
    cases = list(known_answers(rng))
    asked = [{"function": name, "arguments": arguments} for name, arguments in cases]
    text = widget_numbers.as_json(asked).replace("-Infinity", '"-Infinity"')
    told = node("functions", text)
    assert sorted(told["names"]) == sorted(NAMES) == sorted({name for name, _ in cases})
    for (name, arguments), answer in zip(cases, told["answers"], strict=True):
        expected = call(name, arguments)
        parts = zip(expected, answer, strict=True) if isinstance(expected, tuple) else [(expected, answer)]
        for ours, theirs in parts:  # node writes −∞ as a string
            np.testing.assert_allclose(np.array(theirs, float), ours, rtol=1e-12, atol=1e-12, err_msg=name)


def call(name, arguments):
    if name in MEMORY:
        return getattr(formulas, name)(*arguments[:-1], memory=arguments[-1])
    return getattr(formulas, name)(*arguments)


def test_the_library_stays_small():
    """All modules and the loader, as they are served, uncompressed: under 68 KB."""
    sizes = {path.name: path.stat().st_size for path in (ROOT / "book/widgets").glob("*.*js")}
    assert set(sizes) == {f"{name}.mjs" for name in (*BY_NAME, "attention", "parts")} | {"load.js"}
    assert sum(sizes.values()) < 68 * 1024


# ---- the pages


@pytest.fixture(scope="module")
def pages():
    """Every page's text; SITE must have been built."""
    assert SITE.is_dir(), "build the book first: make book"
    return {path: path.read_text(encoding="utf-8") for path in SITE.rglob("*.html")}


@pytest.fixture(scope="module")
def page_of(pages):
    """Widget -> the page on which it stands with its picture."""
    picture = re.compile(r'class="widget docutils container" id="widget-(\w+)"')
    return {name: path for path, text in pages.items() for name in picture.findall(text)}


@pytest.fixture(scope="module")
def chapter_01():
    """Where the whole formula moves a figure of the chapter."""
    return SITE / "notebooks/01_formula.html"


ON_PAGES = {
    "formula": ["from-x-to-y"],
    "door": ["self-attention-one-formula-at-a-time"],
}  # under which heading


def test_every_widget_stands_on_one_page_under_its_formula(pages, page_of):
    text = "".join(pages.values())
    moving = [widget.name for widget in WIDGETS if widget.moves]
    assert sorted(re.findall(r'data-widget="(\w+)"', text)) == sorted([*BY_NAME, *moving])
    for widget in WIDGETS:
        page = BeautifulSoup(pages[page_of[widget.name]], "html.parser")
        box = page.find(id=f"widget-{widget.name}")
        before = box.find_previous(id=re.compile("^(equation-eq-|claim-|from-x-to-y|self-attention-one-)"))
        assert before["id"] in (f"equation-{widget.under}", widget.under, *ON_PAGES.get(widget.name, ()))
        assert "?" in box.find(class_="widget-question").get_text()


def test_the_whole_formula_stands_in_chapter_01_under_its_figure(pages, chapter_01):
    box = BeautifulSoup(pages[chapter_01], "html.parser").find(id="widget-formula")
    assert box.find_previous("figure")["id"] == BY_NAME["formula"].moves
    assert "moves-a-figure" in box["class"]
    assert not box("img")  # on paper the figure is enough


def test_only_pages_with_a_widget_load_its_script(pages, page_of, chapter_01):
    for path, text in pages.items():
        scripts = re.findall(r"<script[^>]*_static/widgets/([\w.]+)", text)
        ready = [f"{name}.js" for name in IN_THE_PAGE if page_of[name] == path]
        assert scripts == ([*ready, "load.js"] if path in (*page_of.values(), chapter_01) else []), path.name


@pytest.mark.parametrize("name", BY_NAME)
def test_the_site_holds_the_package_s_numbers_and_their_picture(name):
    numbers = starts(name)
    published = SITE / "_static/widgets"
    assert (published / f"data/{name}.json").read_text("utf-8") == widget_numbers.as_json(numbers)
    if name in IN_THE_PAGE:
        assert not (published / f"{name}.svg").exists()
    else:
        assert (published / f"{name}.svg").read_bytes() == draw(name, numbers)
        assert (published / f"{name}-night.webp").stat().st_size > 1000


def test_the_front_door_shows_the_package_s_numbers_before_any_script(pages, page_of):
    box = BeautifulSoup(pages[page_of["door"]], "html.parser").find(id="widget-door")
    A, V, O, _ = door_matrices(starts("door")["X"])
    for role, M in {"A": A, "V": V, "O": O}.items():
        rows = box.select(f'[data-name="{role}"] tbody tr')
        shows([[cell.get_text() for cell in row("td")] for row in rows], M)
    assert box.find(class_="widget-says").get_text() == (
        "“cats” gives 57 % of its weight to “hungry”, and takes home hunger 4 and sound 2."
    )
    assert [slider["value"] for slider in box("input")] == ["1", "1", "7"]


def door_matrices(X):
    given = starts("door")
    Q, K, V = formulas.projections(X, given["W_Q"], given["W_K"], given["W_V"])
    A = formulas.softmax(formulas.scaled_scores(Q, K))
    return A, V, formulas.weighted_sum(A, V), 100 * A[1].max()


# ---- the widgets, touched


def press(on, *keys):
    return {"do": "press", "on": on, "keys": list(keys)}


def slider(name, *keys):
    return press(f'input[name="{name}"]', *keys)


def swipe(word):
    """A finger on a slider of the front door, to its end."""
    return {"do": "swipe", "on": f'input[name^="{word}"]'}


def click(on):
    return {"do": "click", "on": on}


def choose(name, label):
    return {"do": "select", "on": f'select[name="{name}"]', "label": label}


def handle(label, *keys):
    return press(f'[aria-label="{label}"]', *keys)


START = {"do": "none"}
GIVEN = ("X", *widget_numbers.MATRICES)
NEXT_NUMBER = "ArrowDown", "ArrowRight", "Enter"
BY_KEYBOARD = [  # a matrix, a place right of and below the one that was chosen in it last, its new number
    ("X", (1, 5), 3),
    ("W_Q", (1, 1), 4),
    ("W_K", (2, 2), 5),
    ("W_V", (1, 1), 6),
    ("W_O", (1, 1), 8),
]
AGAIN = click(".widget-again")
POWER = "power p, scores divided by d_k to the p"
THREE_HEADS = '[type="radio"][value="3"]'
VISITS = {
    "projections": [
        START,
        handle("token it", *["ArrowRight"] * 5, *["ArrowUp"] * 3),
        click('input[value="one"]'),
        {"do": "drag", "on": '[aria-label="token cat"]', "by": [-30, -20]},
        {"do": "tap", "on": ".widget-plane", "at": [40, 40]},
        AGAIN,
    ],
    "scaling": [
        START,
        slider("d_k", "End"),
        slider(POWER, *["ArrowRight"] * 10),
        click("button >> nth=0"),
    ],
    "softmax": [
        START,
        slider("temperature T", *["ArrowLeft"] * 20),
        slider("score of key 1", "End"),
        slider("added to all scores", "End"),
    ],
    "context": [
        START,
        handle("value 3", *["ArrowUp"] * 3, "Shift+ArrowLeft"),
        slider("score for value 1", "End"),
        {"do": "drag", "on": '[aria-label="value 2"]', "by": [60, -40]},
    ],
    "masks": [
        START,
        click("button >> text=causal >> nth=0"),
        click('[aria-label$="hide key 2 from query 3"]'),
        click("button >> text=nothing"),
    ],
    "heads": [
        START,
        click(THREE_HEADS),
        slider("shares added", "ArrowLeft"),
        press(THREE_HEADS, "ArrowRight"),
    ],
    "formula": [
        START,
        {"do": "hover", "on": '[data-name^="A ="] tbody td >> nth=4'},
        click('[data-name="X"] tbody td >> nth=4'),
        {"do": "type", "on": "#widget-given", "text": "14"},
        press('[data-name^="S ="] td[tabindex="0"]', "ArrowDown", "ArrowRight"),
        press('[data-name="W_K"] td[tabindex="0"]', "ArrowRight", "Enter", "5", "Enter", "ArrowDown"),
        *(
            press(f'[data-name="{name}"] td[tabindex="0"]', *NEXT_NUMBER, f"{to}", "Enter")
            for name, _, to in BY_KEYBOARD
        ),
    ],
    "trained": [
        START,
        {"do": "select", "on": "select", "label": "Claisen rearrangement"},
        click(".tokens button >> nth=2"),
        press(".tokens button >> nth=2", "Tab", "Enter"),
    ],
    "decoding": [
        START,
        slider("token", "ArrowRight", "ArrowRight"),
        click('fieldset >> nth=1 >> [type="radio"] >> nth=4'),
        press('fieldset >> nth=0 >> [type="radio"] >> nth=4', "ArrowLeft"),
        slider("token", "Home"),
    ],
    "devices": [
        START,
        slider("ranks", *["ArrowLeft"] * 4),
        click('[type="radio"] >> nth=1'),
        slider("ranks", *["ArrowRight"] * 5),
        slider("GB/s between ranks", "Home"),
        slider("tokens", "End"),
        slider("TFLOP/s of a rank", "Home"),
        AGAIN,
    ],
    "digits": [
        START,
        click('[aria-label="patch in row 2, column 3"]'),
        press('[aria-label="patch in row 2, column 3"]', "ArrowDown", "Enter"),
        click('[type="radio"] >> nth=7'),
        click("button >> text=class token"),
    ],
    "door": [
        START,
        slider("hungry", *["ArrowRight"] * 5),
        slider("purr", "End"),
        slider("hungry", "Home"),
        slider("cats", "End"),
        AGAIN,
        *(swipe(word) for word in ("hungry", "cats", "purr")),
    ],
    "dialects": [
        START,
        press('[role="gridcell"][tabindex="0"]', "ArrowDown", "ArrowRight", "ArrowRight"),
        choose("columns", "PyTorch"),
        choose("rows", "sizes"),
        choose("columns", "each library's first door"),
        choose("order", "most like this package first"),
        choose("from", "Keras on PyTorch, MultiHeadAttention"),
        choose("to", "PyTorch, scaled_dot_product_attention"),
        choose("rows", "all questions"),
    ],
}


@pytest.fixture(scope="module")
def touched(page_of, chapter_01):
    """Every widget after every step, in one run of one browser; skipped where there is none."""
    places = {name: str(path.relative_to(SITE)) for name, path in page_of.items()}
    visits = [{"widget": name, "page": places[name], "steps": steps} for name, steps in VISITS.items()]
    page = str(chapter_01.relative_to(SITE))
    in_01 = {"widget": "formula", "page": page, "steps": VISITS["formula"], "movesAFigure": True}
    asked = {"site": str(SITE), "browser": _browser(), "visits": [*visits, in_01], "far": places["trained"]}
    return node("touch", json.dumps(asked))


@pytest.fixture
def states(touched, request):
    """The states that the widget named in the test went through, step by step."""
    return visited(touched, request.param)[0]["states"]


def visited(touched, widget):
    """The visits of a widget; first that of the page with its picture."""
    visits = [visit for visit in touched["visits"] if visit["widget"] == widget]
    return sorted(visits, key=lambda visit: visit["page"])


def of(widget):
    return pytest.mark.parametrize("states", [widget], indirect=True)


def number(text):
    return float(text.replace("−", "-"))


def shows(texts, expected):
    """Whether texts are these numbers, each within half of its last decimal."""
    texts, expected = np.atleast_1d(texts), np.atleast_1d(expected)
    assert texts.shape == expected.shape
    for text, x in zip(texts.ravel(), expected.ravel(), strict=True):
        decimals = len(text.partition(".")[2])
        assert abs(number(text) - x) <= 0.5001 * 10**-decimals, (text, x)


@of("door")
def test_door_widget(states):
    X = starts("door")["X"].copy()
    by_keyboard = [(1, 1, 7), (1.5, 1, 7), (1.5, 1, 14), (0, 1, 14), (0, 2, 14), (1, 1, 7)]
    by_touch = [(2, 1, 7), (2, 2, 7), (2, 2, 14)]
    says = []
    for state, (X[0, 0], X[1, 3], X[2, 5]) in zip(states, by_keyboard + by_touch, strict=True):
        A, V, O, most = door_matrices(X)
        for role, M in {"A": A, "V": V, "O": O}.items():
            shows(state["tables"][role], M)
        says.append(f"{most:.0f} % of its weight to ")
        assert says[-1] in state["says"]
    words, sounds = ["O", "Q", "K"], ["O", "V"]  # what moves with grammar, and with sound
    by_keyboard_moved = [[], words, sounds, words, words, []]
    assert [state["moved"] for state in states] == [*by_keyboard_moved, words, words, sounds]
    assert states[1]["says"].startswith("Q and K moved: “cats” now gives 73 % of its weight to “hungry”")
    assert states[2]["says"].startswith("V moved, no weight did: “cats” still gives 73 %")
    assert "to “purr”, and takes home" in states[3]["says"]
    assert states[5] == states[0] | {"focus": states[5]["focus"]}


@of("projections")
def test_projections_widget(states):
    words, _, W_Q, W_K, W_V = starts("projections").values()
    first, moved, one_view, dragged, tapped, again = states

    def scores(state, W_K):
        X = [[number(x) for x in state["handles"][f"token {word}"].split(",")] for word in words]
        Q, K, _ = formulas.projections(np.array(X), W_Q, W_K, W_V)
        return formulas.dot_scores(Q, K)

    np.testing.assert_array_equal(first["handles"]["token it"], "0.0, 1.0")
    assert moved["handles"]["token it"] == "0.5, 1.3"
    for state, W in zip(states, (W_K, W_K, W_Q, W_Q, W_Q, W_K), strict=True):
        shows(state["tables"]["S = Q Kᵀ"], scores(state, W))
    assert dragged["handles"]["token cat"] != one_view["handles"]["token cat"]
    assert tapped["handles"]["token cat"] == "−2.0, 2.0"  # near the corner: at its limits
    assert "“it” scores itself 0.00; it scores “cat” highest" in moved["says"]
    assert "“it” scores itself 0.00" not in one_view["says"]
    assert again == first | {"focus": again["focus"]}


@of("scaling")
def test_scaling_widget(states):
    widths, queries = starts("scaling").values()
    settings = [(0, 0, 0), (0, 4, 0), (0, 4, 0.5), (1, 4, 0.5)]
    for state, (query, width, power) in zip(states, settings, strict=True):
        S = queries[query][width] / widths[width] ** power
        A = formulas.softmax(S)
        np.testing.assert_allclose(state["bars"], A, atol=1e-6)
        shows(state["facts"]["spread"], S.std())
        shows(state["facts"]["largest"], A.max())
        shows(state["facts"]["keys"], formulas.effective_keys(A))
    assert f"the luckiest of 64 keys gets {100 * np.max(states[1]['bars']):.0f} %" in states[1]["says"]


@of("softmax")
def test_softmax_widget(states):
    s = starts("softmax")["s"]
    first, cold, raised, shifted = states
    raised_s = np.array([np.log(20), *s[1:]])
    T = 10**-0.4
    for state, scores in zip(states, (s, s / T, raised_s / T, (raised_s + 1000) / T), strict=True):
        A = formulas.softmax(scores)
        shows([row[0] for row in state["tables"]["weights"]], scores)
        shows([row[1] for row in state["tables"]["weights"]], A)
        shows(state["facts"]["largest"], A.max())
        shows(state["facts"]["entropy"], formulas.entropy(A))
        shows(state["facts"]["c"], scores.max())
        shows(state["facts"]["Z"], np.exp(scores - scores.max()).sum())
    assert [row[1] for row in shifted["tables"]["weights"]] == [row[1] for row in raised["tables"]["weights"]]
    assert [row[2] for row in shifted["tables"]["weights"]] == ["NaN"] * 3
    assert "As printed" in shifted["says"]
    assert "key 3 has 62.5 %" in first["says"]
    assert "As printed" not in cold["says"]


@of("context")
def test_context_widget(states):
    A, V = starts("context").values()
    for state, eighths in zip(states, ([1, 2, 5], [1, 2, 5], [20, 2, 5], [20, 2, 5]), strict=True):
        V = np.array([[number(x) for x in state["handles"][f"value {j}"].split(",")] for j in (1, 2, 3)])
        A = np.array([eighths]) / sum(eighths)
        shows(state["tables"]["A"], A)
        shows(state["tables"]["O = A V"], formulas.weighted_sum(A, V))
        assert state["says"].endswith("inside the band, as ever.")
    assert states[1]["handles"]["value 3"] == "7.0, 0.3"
    assert states[3]["handles"]["value 2"] != "0.0, 0.0"


@of("masks")
def test_masks_widget(states):
    S, rules = starts("masks").values()
    fewer = rules["causal"].copy()
    fewer[2, 1] = False
    for state, visible in zip(
        states, (rules["everything"], rules["causal"], fewer, rules["nothing"]), strict=True
    ):
        seen = np.exp(S) * visible
        shows(state["tables"]["A, rows renormalised"], formulas.softmax(formulas.masked_scores(S, visible)))
        sums = seen.sum(1)
        factors = np.divide(np.exp(S).sum(1), sums, out=np.zeros(4), where=sums > 0)
        shows([row[0] for row in state["tables"]["row sums"]], sums)
        shows([row[1] for row in state["tables"]["row sums"]], factors)
    assert "Query 3 sees keys 1, 3. Its row sum is now 6" in states[2]["says"]
    assert "all its weights are zero" in states[3]["says"]


@of("heads")
def test_heads_widget(states):
    X, W_Q, W_K, W_V, W_O = (starts("heads")[name] for name in ("X", *widget_numbers.MATRICES))
    wide = formulas.projections(X, W_Q, W_K, W_V)
    for state, (h, count) in zip(states, [(2, 2), (3, 3), (3, 2), (6, 6)], strict=True):
        joined, A = formulas.attend_by_head(*wide, h)
        shares = formulas.split_heads(joined, h) @ W_O.reshape(h, 6 // h, 6)
        shows(state["tables"]["Q, columns by head"], wide[0])
        shows(state["tables"]["Concat(H), columns by head"], joined)
        shows([state["tables"][f"A of head {i + 1}"] for i in range(h)], A)
        shows(state["tables"]["Y = Concat(H) W_O"], formulas.multi_head_attention(X, W_Q, W_K, W_V, W_O, h))
        shows(state["tables"]["sum of the shares added"], shares[:count].sum(0))
        assert ("It is Concat(H) W_O." in state["says"]) == (count == h)


@of("formula")
def test_formula_widget(states):
    given = {name: np.array(starts("formula")[name], float) for name in GIVEN}
    first, hovered, chosen, changed, walked, typed, *each = states
    settings = [None, None, None, ("X", (0, 4), 14), None, ("W_K", (0, 1), 5), *BY_KEYBOARD]
    for state, setting in zip(states, settings, strict=True):
        if setting:
            name, place, number = setting
            given[name][place] = number
        X, W_Q, W_K, W_V, W_O = given.values()
        Q, K, V = formulas.projections(X, W_Q, W_K, W_V)
        S = formulas.scaled_scores(Q, K)
        A = formulas.softmax(S)
        O = formulas.weighted_sum(A, V)
        made = {"Q = X W_Q": Q, "K = X W_K": K, "V = X W_V": V, "S = Q Kᵀ / √d_k": S, "A = softmax(S)": A,
                "O = A V": O, "Y = O W_O": formulas.output_projection(O, W_O)}  # fmt: skip
        for name, M in (given | made).items():
            shows(state["tables"][name], M)
    assert (first["says"], first["made"], first["makers"]) == (
        "Y[cats, hunger] = 4 · 1 = 4.",
        ["4"],
        ["4", "2", "1", "0"],
    )
    assert hovered["says"] == "A[cats, cats] = exp(0) / (exp(1.39) + exp(0) + exp(0.69)) ≈ 0.14."
    assert chosen["says"] == "X[hungry, hunger] is given: 7."
    assert changed["says"] == "X[hungry, hunger] is given: 14."
    assert walked["says"].startswith("S[cats, cats] = (−1.39 · 1 + 1.39 · 1) / √4")
    assert len(walked["makers"]) == 8
    assert typed["says"] == "W_K[thing, thing] is given: 1."  # where the arrow led, out of the field
    for state, (name, (i, j), number) in zip(each, BY_KEYBOARD, strict=True):
        assert state["tables"][name][i][j] == f"{number}"


def test_the_whole_formula_in_chapter_01_is_that_of_its_page(touched):
    alone, in_01 = visited(touched, "formula")
    assert alone["page"] != in_01["page"]
    for state, expected in zip(in_01["states"], alone["states"], strict=True):
        assert state | {"focus": ""} == expected | {"focus": ""}  # at first, all of the page


@of("trained")
def test_trained_widget(states):
    published = {case["name"]: case for case in starts("trained")["reactions"]}
    cases = {case.name: case for case in reactions.load()}
    visited = [
        ("paracetamol", 0),
        ("Claisen rearrangement", 0),
        ("Claisen rearrangement", 2),
        ("Claisen rearrangement", 3),
    ]
    for state, (name, p) in zip(states, visited, strict=True):
        case, A = cases[name], published[name]["A"]
        full = np.zeros((len(case.tokens),) * 2)
        full[case.products] = A
        weights = case.between(full)
        best = np.argsort(-weights[p], kind="stable")[:3]
        shows([row[0] for row in state["tables"]["best"]], weights[p, best])
        assert [row[1] for row in state["tables"]["best"]] == [
            "right" if case.right[p, r] else "wrong" for r in best
        ]
        tokens = [f"{case.tokens[case.reactants[r]]}, token {case.reactants[r]}" for r in best]
        assert state["rowNames"]["best"] == tokens
        found = case.atoms_right(case.points_at(full))
        assert f"Of {len(case.products)} atoms of the product, {found} look at a right one." in state["says"]


@of("decoding")
def test_decoding_widget(states):
    recorded = starts("decoding")
    prompt, tokens, layers = recorded["prompt"], recorded["tokens"], len(recorded["layers"])
    everyone = slice(None)
    visited = [
        (layers - 2, everyone, prompt),
        (layers - 2, everyone, prompt + 2),
        (layers - 2, slice(4, 5), prompt + 2),
        (layers - 3, slice(4, 5), prompt + 2),
        (layers - 3, slice(4, 5), 0),
    ]
    for state, (layer, heads, step) in zip(states, visited, strict=True):
        row = np.mean([head[step] for head in recorded["A"][layer][heads]], axis=0) / 1000
        np.testing.assert_allclose(state["bars"], np.pad(row, (0, len(tokens) - step - 1)), atol=1e-6)
        shows(state["facts"]["first token"], row[0])
        shows(state["facts"]["itself"], row[step])
        assert number(state["facts"]["cache, bytes"].replace(",", "")) == (step + 1) * 46_080
        word, p = recorded["next"][step][0]
        assert word.replace("\n", "⏎") in state["facts"]["then it says"]
        shows(state["facts"]["then it says"].split(" ")[-1], p)
    assert f"The cache holds {prompt} keys and values in each group; one is new." in states[0]["says"]
    assert "It belongs to the prompt" in states[4]["says"]


@of("digits")
def test_digits_widget(states):
    pictures = starts("digits")["pictures"]
    for state, (i, token) in zip(states, [(0, 0), (0, 7), (0, 11), (7, 11), (7, 0)], strict=True):
        picture = pictures[i]
        for layer, A in enumerate(picture["A"]):
            shown = state["tables"][f"layer {layer + 1}, attention in %"]
            shows(shown, np.array(A)[token, 1:].reshape(4, 4) / 10)
        for way, said in {"drop": "key hidden", "blank": "pixels blank"}.items():
            lost = np.array(picture[way])
            shows(state["tables"][f"lost in %, {said}"], lost.reshape(4, 4) / 10)
            y, x = divmod(lost.argmax(), 4)
            assert f"of row {y + 1}, column {x + 1}" in state["says"]
        assert f"The net reads {picture['says']}, p = {picture['p'] / 1000:.2f}" in state["says"]
        who = "The class token" if token == 0 else "The patch in row"
        assert f"{who}" in state["says"]


@of("devices")
def test_devices_widget(states):
    shape, machine, groups, rates, wires = starts("devices").values()
    few, many = groups
    first, least = (rates.index(machine["rate"]), wires.index(machine["wire"])), 0
    settings = [(17, 6, few, *first), (17, 2, few, *first), (17, 2, many, *first), (17, 7, many, *first)]
    settings += [(17, 7, many, first[0], least), (22, 7, many, first[0], least), (22, 7, many, least, least)]
    for state, (tokens, ranks, g, rate, wire) in zip(states, [*settings, settings[0]], strict=True):
        way = clusters.Wire(1e9 * wires[wire], machine["latency"])
        cluster = clusters.Cluster(1e12 * rates[rate], np.inf, 1, way, way)
        attention, p = clusters.Attention(2**tokens, g=g, **shape), 2**ranks
        found = clusters.splits(cluster, attention, p)
        for row, name in enumerate(("heads", "ring", "all-to-all")):
            (ms,), (gb,) = state["tables"]["milliseconds"][row], state["tables"]["GB a rank holds"][row]
            if name in found:
                shows(ms, 1e3 * found[name].seconds)
                shows(gb, 1e-9 * found[name].held_bytes)
            else:
                assert (ms, gb) == ("–", "–")
        own, hides = (number(state["facts"][name].replace(",", "")) for name in ("own", "hides"))
        from_there = clusters.hides_from(cluster, attention, p)
        assert own == attention.n / p
        assert hides == round(from_there)
        who = {"heads": "dividing the heads", "ring": "the ring"}
        best = clusters.fastest(found)
        assert f"{p} ranks: {who.get(best, best)} takes least" in state["says"]
        assert ("The ring hides" in state["says"]) == (own >= from_there)
    assert "no group of heads for each of 64 ranks" in states[0]["says"]
    assert "all-to-all takes" in states[3]["says"]


@of("dialects")
def test_dialects_widget(states):
    first, walked, torch, sizes, *_, sorted_, _, moved, whole = states
    titles, names = dialects.titles(), list(dialects.QUESTIONS)
    library_of = {door: door.partition("/")[0] for door in dialects.doors()}
    firsts = list({library: door for door, library in reversed(library_of.items())}.values())[::-1]

    def mark(door, question):
        said = dialects.reading(*door.split("/", 1), question)
        if said in dialects.places(question):
            return ["", "2", "3", "4"][min(dialects.places(question)[said], 3)]
        return {None: "", "depends": "~", "refused": "×"}.get(said, "?")

    def marks(doors, questions):
        return [[mark(door, question) for door in doors] for question in questions]

    assert first["rowNames"]["readings"] == names
    assert first["tables"]["readings"] == marks(firsts, names)
    (answer,) = [a for a in dialects.answers() if at(a) == (firsts[0], names[0], "")]
    assert f"{titles['diffusers']} {answer.version}" in first["says"]
    third = firsts[2].partition("/")
    assert walked["says"].startswith(f"{titles[third[0]]} ")
    assert walked["says"].endswith(f"{dialects.reading(third[0], third[2], names[1])}.")
    own = [door for door, library in library_of.items() if library == "torch"]
    assert torch["tables"]["readings"] == marks(own, names)
    assert sizes["rowNames"]["readings"] == list(dialects.GROUPS["sizes"])
    assert sizes["tables"]["readings"] == marks(own, dialects.GROUPS["sizes"])
    ours = firsts.index("ours/numpy_direct")
    assert [row[0] for row in sorted_["tables"]["readings"]] == [
        row[ours] for row in marks(firsts, dialects.GROUPS["sizes"])
    ]
    changes = dialects.moving("keras_torch/MultiHeadAttention", "torch/scaled_dot_product_attention")
    for state in moved, whole:
        assert state["rowNames"]["changes"] == [f"{c.question} {c.variant}".strip() for c in changes]
        for (was, is_, line), change in zip(state["tables"]["changes"], changes, strict=True):
            assert was.startswith(f"{change.before.reading}: ")
            assert is_.startswith(f"{change.after.reading}: ")
            assert line == (change.line or "none known")
    two = "keras_torch/MultiHeadAttention", "torch/scaled_dot_product_attention"
    differing = [
        q for q in names if None not in (here := [ask(door, q) for door in two]) and len(set(here)) == 2
    ]
    assert whole["rowNames"]["readings"] == differing
    assert whole["tables"]["readings"] == marks(two, differing)


def at(answer):
    return f"{answer.library}/{answer.door}", answer.question, answer.variant


def ask(door, question):
    return dialects.reading(*door.split("/", 1), question)


def test_widgets_raise_no_error_and_are_accessible(touched):
    for visit in touched["visits"]:
        for fault in ("errors", "light", "dark", "phone"):
            assert visit[fault] == [], (visit["widget"], fault)
        assert visit["sideways"] <= 0, visit["widget"]


def test_rows_side_by_side_are_in_line_and_words_stay_in_their_drawing(touched):
    """At 1280 and at 320 px, where titles take two lines."""
    assert {visit["widget"]: visit["askew"] for visit in touched["visits"] if visit["askew"]} == {}


def test_widgets_come_late_and_leave_a_picture_where_they_cannot_come(touched):
    assert sorted(touched["early"]) == [
        "load.js",
        "trained.svg",
        "widgets.css",
    ]  # paper cannot wait for its picture
    assert touched["broken"] > 200  # pixels, of a picture that has arrived
    assert sorted(touched["scriptless"]) == sorted(BY_NAME)
    assert min(touched["scriptless"].values()) > 200
