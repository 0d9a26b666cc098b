"""Which parameter of a layer is which matrix of the formula: by name and by shape, else by trial.

A parameter's numbers are drawn anew on both sides, here and in the process that has the layer, so that
large ones need not travel. An `Attribution` says how the drawn numbers become W_Q, W_K, W_V (in, out), W_O
and their biases; where names and shapes leave several, all are tried.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

STRICT = [
    ("packed", r"qkv|kqv|qvk|c_attn|in_?proj|query_?key_?value|w_?pack|attn_in"),
    ("kv", r"(?<![a-z])kv(?![a-z])|key_?value"),
    ("O", r"(?<![a-z])(w_?|fc_?|to_?)?o(?![a-z])|out|c_proj|concat|dense|unify|combine|merge|final"),
    ("Q", r"(?<![a-z])(w_?|fc_?|to_?)?qs?(?![a-z])|quer"),
    ("K", r"(?<![a-z])(w_?|fc_?|to_?)?ks?(?![a-z])|key"),
    ("V", r"(?<![a-z])(w_?|fc_?|to_?)?vs?(?![a-z])|val"),
]
LOOSE = [("O", r"proj|^fc|linear|last")]
LAID = ("(3, heads, d)", "(heads, 3, d)", "(heads, d, 3)", "(d, 3, heads)")
"""How the columns of one matrix for queries, keys and values may lie."""


@dataclass(frozen=True)
class Parameter:
    """A parameter: its dotted name, its shape, and the class of the module that owns it."""

    name: str
    shape: tuple[int, ...]
    owner: str

    @property
    def words(self) -> list[str]:
        """Parts of the name from the inside outwards, without numbers and what every name ends with."""
        parts = self.name.lower().split(".")
        parts[-1] = re.sub(r"_?(weights?|bias)$", "", parts[-1])
        return [part for part in reversed(parts) if part and not part.isdigit()]

    @property
    def matrix(self) -> bool:
        """Whether it is one, or several; a 1 × 1 convolution is one."""
        return len([n for n in self.shape if n > 1]) >= 2 and "bias" not in self.name

    @property
    def of_a_norm(self) -> bool:
        """Whether a norm owns it."""
        return "norm" in self.owner.lower()

    @property
    def gate(self) -> bool:
        """Whether its name says that it is a gate."""
        return any("gate" in word or word in ("g", "g_proj", "w_g", "wg", "to_g") for word in self.words)

    @property
    def of_places(self) -> bool:
        """Whether its name says that it is about distances or positions."""
        return bool(self.words) and bool(re.search("(^|_)(rel|relative|dist|pos)", self.words[0]))

    @property
    def role(self) -> str:
        """What its name says that it is, or nothing."""
        for known in (STRICT, LOOSE):
            for word in self.words:
                for role, pattern in known:
                    if re.search(pattern, word):
                        return role
        return ""


def drawn(name: str, shape: tuple[int, ...], bias: bool) -> np.ndarray:
    """The numbers of a parameter, the same wherever they are drawn, and float32's."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    large = 0.5 if bias else (min(n for n in shape if n > 1) if max(shape) > 1 else 1) ** -0.5
    return (large * rng.normal(size=shape)).astype(np.float32)


@dataclass(frozen=True)
class Attribution:
    """How parameters become matrices. `of` maps a role to its parameters' names, in their order."""

    parameters: tuple[Parameter, ...]
    of: tuple[tuple[str, tuple[str, ...]], ...]
    h: int
    g: int
    laid: str = LAID[0]
    order: str = "QKV"
    turned: tuple[bool, bool] = (False, False)  # of bare parameters: those into heads, and W_O
    beside: tuple[tuple[str, bool], ...] = ()  # what else is drawn, and whether as small as a bias

    @property
    def named(self) -> set[str]:
        """The parameters that have a role, and what is drawn besides."""
        return {name for _, names in self.of for name in names} | {name for name, _ in self.beside}

    @property
    def left(self) -> list[Parameter]:
        """Those that have none."""
        return [p for p in self.parameters if p.name not in self.named]

    @property
    def silenced(self) -> list[str]:
        """Of these what is added somewhere, so that 0 leaves it out: biases and positions."""
        return [p.name for p in self.left if not p.of_a_norm and re.search("bias|pos|rel", p.name.lower())]

    def __str__(self) -> str:
        roles = {role: " and ".join(names) for role, names in self.of if not role.startswith("b_")}
        said = []
        for role, names in roles.items():
            letters = {"packed": self.order, "kv": "KV"}.get(role, role)
            laid = f", columns {self.laid}" if role == "packed" else ""
            said.append(f"{', '.join(f'W_{x}' for x in letters)} from {names}{laid}")
        groups = f", {self.g} of keys" if self.g != self.h else ""
        return f"{'; '.join(said)}; {self.h} heads{groups}"

    def arrays(self, with_biases: bool) -> dict[str, np.ndarray] | None:
        """W_Q … b_O in float64, matrices (in, out); None where the shapes do not fit one another."""
        by_name = {p.name: p for p in self.parameters}
        found, of = {}, dict(self.of)
        try:
            for role in ("packed", "kv", "Q", "K", "V", "O"):
                if role in of:
                    found |= self._parts(role, self._matrix(role, [by_name[name] for name in of[role]]))
            for role in ("packed", "kv", "Q", "K", "V", "O"):
                if f"b_{role}" in of:
                    b = self._joined([by_name[name] for name in of[f"b_{role}"]], with_biases)
                    found |= {f"b_{r}": x[0] for r, x in self._parts(role, b[None]).items()}
        except (ValueError, IndexError):
            return None
        return _fitting({name if name[0] == "b" else f"W_{name}": x for name, x in found.items()}, self.h)

    def _joined(self, parameters, with_biases):
        return np.concatenate(
            [with_biases * drawn(p.name, p.shape, True).astype(np.float64).ravel() for p in parameters]
        )

    def _matrix(self, role, parameters):
        turned = self.turned[role == "O"]
        each = [flat(p, role, turned, self.g if role in "KV" else self.h) for p in parameters]
        return np.concatenate(each, axis=0 if role == "O" else 1)

    def _parts(self, role, wide):
        if role == "packed":
            return dict(zip(self.order, _unpacked(wide, self.laid, self.h, self.g), strict=True))
        if role == "kv":
            return dict(zip("KV", np.split(wide, 2, axis=1), strict=True))
        return {role: wide}


def flat(parameter: Parameter, role: str, turned: bool, heads: int) -> np.ndarray:
    """One parameter as a matrix (in, out)."""
    X = drawn(parameter.name, parameter.shape, False).astype(np.float64)
    owner = parameter.owner.lower()
    if owner.startswith("conv") and X.ndim > 2:
        X = X.reshape(X.shape[:2])
    if X.ndim == 4 and X.shape[0] == 1:
        X = X[0]
    if X.ndim == 3 and role == "O":
        return X.reshape(-1, X.shape[-1])  # (heads, d, d_model)
    if X.ndim == 3 and X.shape[0] == heads:
        return np.moveaxis(X, 0, 1).reshape(X.shape[1], -1)  # (heads, d_model, d)
    if X.ndim == 3:
        return X.reshape(X.shape[0], -1)  # (d_model, heads, d)
    if owner == "conv1d" and not parameter.name.endswith("_1x1") and len(parameter.shape) == 2:
        return X  # GPT-2's, which is (in, out)
    return X.T if _certain(parameter) or turned else X


def _unpacked(wide, laid, h, g):
    rows, width = wide.shape
    if laid == LAID[0]:
        d = width // (h + 2 * g)
        if d * (h + 2 * g) != width:
            raise ValueError
        return np.split(wide, [h * d, (h + g) * d], axis=1)
    if g != h or width % (3 * h):
        raise ValueError
    d = width // (3 * h)
    shape, axis = {
        "(heads, 3, d)": ((h, 3, d), 2),
        "(heads, d, 3)": ((h, d, 3), 3),
        "(d, 3, heads)": ((d, 3, h), 2),
    }[laid]
    parts = (part.squeeze(axis) for part in np.split(wide.reshape(rows, *shape), 3, axis=axis))
    if laid == "(d, 3, heads)":
        parts = (part.swapaxes(1, 2) for part in parts)
    return [part.reshape(rows, -1) for part in parts]


def _fitting(found, h):
    """The arrays with what is missing: an output that is not projected, biases of 0."""
    if not {"W_Q", "W_K", "W_V"} <= set(found):
        return None
    found = _sliced(found, h)
    if "W_O" not in found:
        found["W_O"] = np.eye(found["W_V"].shape[1] * found["W_Q"].shape[1] // found["W_K"].shape[1])
    for x in "QKVO":
        found.setdefault(f"b_{x}", np.zeros(found[f"W_{x}"].shape[1]))
        if found[f"b_{x}"].shape != found[f"W_{x}"].shape[1:]:
            return None
    heads_of_keys = found["W_K"].shape[1] * h / found["W_Q"].shape[1]
    if found["W_Q"].shape[1] % h or heads_of_keys != round(heads_of_keys) or heads_of_keys < 1:
        return None
    wide = found["W_V"].shape[1] * found["W_Q"].shape[1] // found["W_K"].shape[1]
    return found if found["W_O"].shape[0] == wide else None


def _sliced(found, h):
    """Where matrices are as wide as one head only: they are blocks, and what is beside these plays no part.

    Beside the blocks stand numbers, not zeros, so that only a function that leaves them out gives the output.
    """
    d = found["W_Q"].shape[0]
    small = [f"W_{x}" for x in "QKV"]
    if h == 1 or any(found[x].shape != (d, d) for x in small) or "W_O" not in found:
        return found
    if found["W_O"].shape[0] != h * d:
        return found
    rng = np.random.default_rng(0)
    for x in small:
        beside = rng.normal(size=(h, d, h, d)) / (h * d) ** 0.5
        beside[np.arange(h), :, np.arange(h)] = found[x]
        found[x] = beside.reshape(h * d, h * d)
        bias = f"b_{x[-1]}"
        if bias in found:
            found[bias] = np.tile(found[bias], h)
    return found


def attributions(parameters: list[Parameter], numbers: dict[str, int]) -> Iterator[Attribution]:
    """All that names, shapes and counts leave open, the likeliest first."""
    for of in _roles(parameters):
        bare = any(p.matrix and not _certain(p) for p in parameters if p.name in _names(of))
        ways = list(product((False, True), repeat=2)) if bare else [(False, False)]
        packed = "packed" in of
        orders = _orders(parameters, of) if packed else ["QKV"]
        for h in _heads(parameters, of, numbers):
            for g in _groups(parameters, of, numbers, h):
                for order, laid, turned in product(orders, LAID if packed else LAID[:1], ways):
                    yield Attribution(tuple(parameters), tuple(of.items()), h, g, laid, order, turned)


def _names(of):
    return {name for names in of.values() for name in names}


def _certain(parameter):
    """Whether its owner is one that keeps matrices as (out, in), or GPT-2's Conv1D, which does not."""
    owner = parameter.owner
    return owner == "MultiheadAttention" or owner.lower().endswith("linear") or owner.startswith("Conv")


def _orders(parameters, of):
    """Of the letters of a packed matrix, as its name has them; the usual one first."""
    text = of["packed"][0].lower()
    said = next((x for x in ("kqv", "qvk", "kvq", "vqk", "vkq") if x in text), "qkv").upper()
    return list(dict.fromkeys([said, *("".join(order) for order in permutations("QKV"))]))


def _roles(parameters):
    """Role -> names, `b_` before the role for its bias: by their names, else in their order."""
    matrices = [p for p in parameters if p.matrix and not (p.of_a_norm or p.gate or p.of_places)]
    by_role = {}
    for p in matrices:
        if p.role:
            by_role.setdefault(p.role, []).append(p)
    if _enough(by_role):
        yield _with_biases(parameters, by_role)
    if len(matrices) in (3, 4):
        for order in permutations("QKV"):
            roles = [*order, "O"]
            of = {role: [p] for role, p in zip(roles, matrices, strict=False)}
            if of != by_role:
                yield _with_biases(parameters, of)
    if len(matrices) in (1, 2) and "packed" not in by_role:
        yield _with_biases(parameters, dict(zip(("packed", "O"), ([p] for p in matrices), strict=False)))


def _biases(stem):
    """What the bias beside a weight may be called: W_Q and b_Q, kernel and bias, too."""
    others = re.sub(r"(^|\.)[wW](_?[a-zA-Z]+)$", r"\1b\2", stem), re.sub("kernel$", "bias", stem)
    return f"{stem}.bias", f"{stem}_bias", *(other for other in others if other != stem)


def _enough(by_role):
    got = set(by_role)
    return "packed" in got or {"Q", "kv"} <= got or {"Q", "K", "V"} <= got


def _with_biases(parameters, by_role):
    of = {role: tuple(p.name for p in found) for role, found in by_role.items()}
    for role, found in by_role.items():
        stems = [re.sub(r"\.?_?weights?$", "", p.name) for p in found]
        names = {p.name for p in parameters}
        biases = [next((b for b in _biases(s) if b in names), None) for s in stems]
        if all(biases):
            of[f"b_{role}"] = tuple(biases)
    together = [p.name for p in parameters if p.name.endswith("in_proj_bias")]
    if together and "packed" not in of:
        of["b_packed"] = (together[0],)
    for letter in "QKV":  # biases that stand apart from a packed matrix
        alone = [p.name for p in parameters if re.search(rf"(^|\.){letter.lower()}_bias$", p.name)]
        if alone and "packed" in by_role and "b_packed" not in of:
            of[f"b_{letter}"] = (alone[0],)
    return of


HEADS = r"^(h|heads?|n_?heads?|num_?heads?|heads?_num|nh|n_h|num_attention_heads|nhead)$"
GROUPS = r"^(n_?kv_?heads?|num_?kv_?heads?|num_key_value_heads|kv_heads|n_?groups?|num_groups)$"
WIDTHS = r"^(d_?k|head_?(dim|size)|dim_?head|d_?head|key_?dim|attention_head_size|attn_head_size)$"


def _counted(numbers, pattern):
    return [n for name, n in numbers.items() if re.search(pattern, name.lower()) and n > 0]


def _width(parameters, of):
    """Of all heads of queries, as far as it shows."""
    by_name = {p.name: p for p in parameters}
    if "Q" in of:
        shapes = [by_name[name].shape for name in of["Q"]]
        return len(of["Q"]) if len(of["Q"]) > 1 else int(np.prod(shapes[0])) // max(min(shapes[0]), 1)
    return int(np.prod(by_name[of["packed"][0]].shape)) // (3 * min(by_name[of["packed"][0]].shape))


def _heads(parameters, of, numbers):
    """Numbers of heads: as many as there are matrices, as an attribute says, else all that divide."""
    by_name = {p.name: p for p in parameters}
    if len(of.get("Q", ())) > 1:
        return [len(of["Q"])]
    if "Q" in of and len(by_name[of["Q"][0]].shape) == 3:
        return list(dict.fromkeys(by_name[of["Q"][0]].shape[:2]))
    said = _counted(numbers, HEADS)
    width = _width(parameters, of)
    said += [width // d for d in _counted(numbers, WIDTHS) if width % d == 0]
    divisors = [n for n in range(1, min(width, 64) + 1) if width % n == 0]
    return list(dict.fromkeys(said or divisors))[:8]


def _groups(parameters, of, numbers, h):
    """Numbers of heads of keys: by the widths of the matrices, or as an attribute says."""
    by_name = {p.name: p for p in parameters}
    if {"Q", "K"} <= set(of):
        size = [sum(int(np.prod(by_name[n].shape)) for n in of[role]) for role in "QK"]
        g = h * size[1] / size[0]
        return [int(g)] if g == round(g) and g >= 1 else [h]
    return list(dict.fromkeys([n for n in _counted(numbers, GROUPS) if h % n == 0] + [h]))
