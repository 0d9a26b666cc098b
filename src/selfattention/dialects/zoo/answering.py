"""Run architectures of transformers and read their attention calls: in a process beside the library.

python -m selfattention.dialects.zoo.answering            every architecture's name
python -m selfattention.dialects.zoo.answering NAME …     lines of JSON: the versions, then names and rows
"""

import json
import os
import re
import sys
import warnings
from collections import Counter
from importlib.metadata import version
from typing import Any

from selfattention.dialects.zoo import ingredients, models, traced
from selfattention.dialects.zoo.own import NOT_THIS_FORMULA

TELLING = re.compile(
    r"^(?!final|mlp|max)(.*)(window|chunk_size$|softcap|_cap$|pre_attn|attention_multiplier|alibi|index_topk|block_size|landmarks)"
)
"""Names of settings on which an attention call depends."""

Row = dict[str, Any]


def row(name: str) -> Row:
    """What an architecture is made of, or its calls, or why there are none."""
    kinds = {"model": models.architectures()[name], "config": models.config_class(name).__name__}
    if parts := models.parts(name):
        return kinds | {"parts": parts}
    try:
        dtype, first, second, settings = _calls(name)
    except Exception as error:  # whatever a model may say when it is made or run
        return kinds | {"missing": _said(error)}
    (calls, why), (others, _) = first, second
    rows = [ingredients.row(one, other) for one, other in zip(calls, others, strict=True)]
    said = kinds | {"dtype": dtype, "settings": settings, "calls": together(rows)}
    if name in NOT_THIS_FORMULA:
        said["instead"] = NOT_THIS_FORMULA[name]
    return said | ({"unread": dict(Counter(why))} if why else {})


def _calls(name):
    """Two passes on two inputs, in double precision where that works: some masks are NaN there."""
    try:
        return _calls_in(name, "float64")
    except Exception:
        return _calls_in(name, "float32")


def _calls_in(name, dtype):
    model = models.tiny(name, dtype)
    passes = [_read(model, models.inputs(name, model, seed)) for seed in (0, 1)]
    if dtype == "float64" and traced.NAN in passes[0][1]:
        raise ValueError(traced.NAN)
    return dtype, *passes, _settings(model.config)


def _read(model, given):
    return traced.calls(traced.steps_of(lambda: model(**given)))


def _settings(config):
    given = {key: value for key, value in config.to_dict().items() if TELLING.search(key)}
    return {key: value for key, value in given.items() if isinstance(value, int | float) and value}


def _said(error):
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:100].rstrip(": ")


def together(rows: list[Row]) -> list[Row]:
    """Calls with the same ingredients as one, with their number and the largest error."""
    kinds: dict[str, Row] = {}
    for said in rows:
        said = dict(said)
        error, empty = said.pop("error"), said.pop("empty", 0)
        kind = kinds.setdefault(json.dumps(said), said | {"count": 0, "error": 0.0})
        kind["count"] += 1
        kind["error"] = max(kind["error"], float(f"{error:.1e}"))
        if empty:
            kind["empty"] = kind.get("empty", 0) + empty
    return list(kinds.values())


def main(*names: str) -> None:
    warnings.simplefilter("ignore")
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not stand among the rows

    def tell(**said: Any) -> None:
        print(json.dumps(said, ensure_ascii=False), file=out, flush=True)

    if not names:
        tell(names=list(models.architectures()))
    else:
        tell(versions={report: version(report) for report in ("transformers", "torch", "numpy")})
    for name in names:
        tell(asked=name)
        tell(row=row(name))


if __name__ == "__main__":
    main(*sys.argv[1:])
