"""How far apart two colours are for readers of any colour vision.

- what a reader without one of the three kinds of cones sees: Machado, Oliveira and Fernandes, A
  physiologically-based model for simulation of color vision deficiency, IEEE TVCG 15 (2009), severity 1;
- the difference: CIEDE2000, as Sharma, Wu and Dalal, The CIEDE2000 color-difference formula: implementation
  notes, Color Research and Application 30 (2005), write it out.
"""

import numpy as np

VISIONS = {
    "all cones": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)  # sRGB, IEC 61966-2-1


def lab(colours, vision="all cones"):
    """CIELAB (…, 3) of sRGB colours (…, 3) from 0 to 1, white D65, as somebody of that vision sees them."""
    colours = np.asarray(colours, float)
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ VISIONS[vision].T, 0, 1) @ TO_XYZ.T / TO_XYZ.sum(1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def ciede2000(one, other):
    """ΔE between colours in CIELAB (…, 3); the lines have the names of Sharma et al.'s steps."""
    (L1, a1, b1), (L2, a2, b2) = np.moveaxis(np.asarray(one), -1, 0), np.moveaxis(np.asarray(other), -1, 0)
    C = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    G = (1 - np.sqrt(C**7 / (C**7 + 25.0**7))) / 2
    a1, a2 = a1 * (1 + G), a2 * (1 + G)
    C1, C2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    grey = C1 * C2 == 0
    turn = (h2 - h1 + 180) % 360 - 180
    dL, dC = L2 - L1, C2 - C1
    dH = np.where(grey, 0, 2 * np.sqrt(C1 * C2) * np.sin(np.radians(turn / 2)))
    L, C = (L1 + L2) / 2, (C1 + C2) / 2
    h = np.where(grey, h1 + h2, (h1 + turn / 2) % 360)
    T = 1 - 0.17 * _cos(h - 30) + 0.24 * _cos(2 * h) + 0.32 * _cos(3 * h + 6) - 0.20 * _cos(4 * h - 63)
    S_L = 1 + 0.015 * (L - 50) ** 2 / np.sqrt(20 + (L - 50) ** 2)
    S_C, S_H = 1 + 0.045 * C, 1 + 0.015 * C * T
    R_T = -np.sin(np.radians(60 * np.exp(-(((h - 275) / 25) ** 2)))) * 2 * np.sqrt(C**7 / (C**7 + 25.0**7))
    l, c, H = dL / S_L, dC / S_C, dH / S_H
    return np.sqrt(l**2 + c**2 + H**2 + R_T * c * H)


def _cos(degrees):
    return np.cos(np.radians(degrees))
