"""Apache TVM: Relax's attention operator, compiled for a processor."""

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, heads_last, words


def _attention(corner):
    def call(asked: Asked) -> Call:
        import tvm
        from tvm import relax

        turned = (lambda X: np.ascontiguousarray(X)) if asked.as_it_lies else heads_last
        mask = next((X for X in (asked.literal, asked.mask, asked.bias) if X is not None), None)
        names = zip(("query", "key", "value"), (asked.Q, asked.K, asked.V), strict=True)
        given = {name: turned(X) for name, X in names}
        if mask is not None:
            given["bias"] = np.ascontiguousarray(mask)
        options = {"scale": asked.scale, "causal_mask": corner if asked.causal else None}

        def function(*arrays, scale=None, causal_mask=None):
            builder = relax.BlockBuilder()
            inputs = [
                relax.Var(f"x{count}", relax.TensorType(X.shape, str(X.dtype)))
                for count, X in enumerate(arrays)
            ]
            with builder.function("main", inputs):
                with builder.dataflow():
                    bias = inputs[3] if len(inputs) == 4 else None
                    node = relax.op.nn.attention(*inputs[:3], bias, scale=scale, causal_mask=causal_mask)
                    output = builder.emit_output(builder.emit(node))
                builder.emit_func_output(output)
            machine = relax.VirtualMachine(tvm.compile(builder.get(), "llvm"), tvm.cpu())
            return machine["main"](*map(tvm.runtime.tensor, arrays)).numpy()

        return Call(
            function, "relax.op.nn.attention", given, options, lambda O: O if asked.as_it_lies else turned(O)
        )

    return call


TAKES = words("bias, literal, causal, scale, d_v, grouped, 4 axes")

LIBRARY = Library(
    title="Apache TVM",
    packages=("apache-tvm==0.27.0.post1", "numpy==2.4.6"),
    doors=(
        Door("nn.attention, TopLeft", _attention("TopLeft"), TAKES),
        Door("nn.attention, BottomRight", _attention("BottomRight"), TAKES),
    ),
    reports=("apache-tvm",),
    module="tvm",
)
