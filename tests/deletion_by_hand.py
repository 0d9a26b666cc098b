"""What deleting patches of 2 × 2 from pictures of 8 × 8 means, written with loops."""

import torch


def visible(gone):
    """(N, 17): False for the tokens of patches that are gone; the class token is the first."""
    seen = torch.ones(len(gone), 17, dtype=torch.bool)
    for picture, patches in enumerate(gone.tolist()):
        for patch in patches:
            seen[picture, patch + 1] = False
    return seen


def blank(pictures, gone):
    """(N, 8, 8): zeros where the patches were."""
    pictures = pictures.clone()
    for picture, patches in enumerate(gone.tolist()):
        for patch in patches:
            y, x = divmod(patch, 4)
            pictures[picture, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] = 0
    return pictures
