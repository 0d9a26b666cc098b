#!/bin/sh
# Pillow 13.0.0: paste of a number into a 16-bit picture writes its lower byte twice.
#
# Label pictures with more than 255 instances, and depth, are of mode I;16. paste(5, box) fills the box with
# 1285, which is 5 + 256 * 5; paste(256, box) with 0, the background. Image.new, putpixel, ImageDraw and paste
# through a mask write the number that they are given.
#
# It hurts who puts instances into a label picture, or blanks a part of a depth map, by paste: each object
# gets a wrong number, two that agree in the lower byte get the same, every 256th is erased.
#
# Seen:
#       5: paste 1285, paste through a mask 5, drawn 5
#     255: paste 65535, paste through a mask 255, drawn 255
#     256: paste 0, paste through a mask 256, drawn 256
#     300: paste 11308, paste through a mask 300, drawn 300
#     556: paste 11308, paste through a mask 556, drawn 556

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "pillow==13.0.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import sys

import numpy as np
from PIL import Image, ImageDraw

box, seen = (0, 0, 1, 1), []
for label in (5, 255, 256, 300, 556):
    plain, masked, drawn = (Image.new("I;16", (2, 1)) for _ in range(3))
    plain.paste(label, box)
    masked.paste(label, box, Image.new("L", (1, 1), 255))
    ImageDraw.Draw(drawn).rectangle((0, 0, 0, 0), fill=label)
    row = [int(np.asarray(picture)[0, 0]) for picture in (plain, masked, drawn)]
    print(f"{label:>3}: paste {row[0]}, paste through a mask {row[1]}, drawn {row[2]}")
    seen.append((label, *row))
still = all(p == label % 256 * 257 and m == d == label for label, p, m, d in seen)
sys.exit(0 if still else "The behaviour has changed.")
EOF
