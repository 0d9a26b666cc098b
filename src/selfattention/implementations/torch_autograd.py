"""The frame that PyTorch wants around a forward and a backward pass: no arithmetic stands here."""

from selfattention.extras import needed

with needed():
    import torch

from selfattention.implementations import learned_bias
from selfattention.implementations.contract import in_its_own_dtype


def differentiable(outputs, gradients):
    """`outputs(Q, K, V, rule, bias, scale, softcap) -> (O, L)`, made differentiable in Q, K, V and the bias.

    Between the passes only the inputs, O and L are kept, no scores and no weights.
    `gradients(dO, dL, Q, K, V, O, L, rule, bias, scale, softcap)` gives dQ, dK and dV; dL is zero where the
    loss does not depend on L. A sink is none of its business: it is merged with what comes out.
    """

    class Attention(torch.autograd.Function):
        @staticmethod
        def forward(ctx, Q, K, V, rule, bias, scale, softcap):
            O, L = outputs(Q, K, V, rule, bias, scale, softcap)
            ctx.save_for_backward(Q, K, V, O, L, bias)
            ctx.rest = rule, scale, softcap
            return O, L

        @staticmethod
        def backward(ctx, dO, dL):
            (*arrays, bias), (rule, *rest) = ctx.saved_tensors, ctx.rest
            call, wanted = (dO, dL, *arrays, rule, bias, *rest), ctx.needs_input_grad
            with in_its_own_dtype(dO):
                three = gradients(*call) if any(wanted[:3]) else (None, None, None)
                return *three, None, learned_bias.gradient(*call) if wanted[4] else None, None, None

    return Attention.apply
