"""Properties of `rotary(Q, positions)`."""

import numpy as np

from selfattention.properties.single_precision import agree

Q, K = np.random.default_rng(0).normal(size=(2, 5, 8))
PLACES = np.array([0, 1, 3, 7, 20])


def shape(rotary):
    """As many rows and columns as before."""
    np.testing.assert_(rotary(Q, PLACES).shape == Q.shape)


def lengths_kept(rotary):
    """A turned vector is as long as before."""
    agree(np.linalg.norm(rotary(Q, PLACES), axis=-1), np.linalg.norm(Q, axis=-1))


def only_distances_count(rotary):
    """All positions moved by eleven leave the scores as they were."""
    scores = [rotary(Q, PLACES + t) @ rotary(K, PLACES + t).T for t in (0, 11)]
    agree(*scores)


def positions_matter(rotary):
    """Two tokens that change places score differently."""
    swapped = PLACES[[1, 0, 2, 3, 4]]
    np.testing.assert_(
        not np.allclose(rotary(Q, PLACES) @ rotary(K, PLACES).T, rotary(Q, swapped) @ rotary(K, swapped).T)
    )


def nothing_at_zero(rotary):
    """At position zero nothing is turned."""
    agree(rotary(Q, np.zeros(5, dtype=int)), Q)


def complex_numbers(rotary):
    """Equal to multiplying x + iy by a complex number of modulus one."""
    z = (Q[:, 0::2] + 1j * Q[:, 1::2]) * np.exp(1j * PLACES[:, None] * 10_000.0 ** (-np.arange(0, 8, 2) / 8))
    expected = np.stack([z.real, z.imag], axis=-1).reshape(Q.shape)
    agree(rotary(Q, PLACES), expected)
