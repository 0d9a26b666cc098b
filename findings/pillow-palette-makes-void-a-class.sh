#!/bin/sh
# Pillow 13.0.0: saving a label picture with a short palette as PNG renumbers the labels above it.
#
# A picture of mode P holds label numbers and a palette to show them by. The PNG is written with as few bits
# a pixel as the palette's length needs, and larger labels lose their upper bits: with two colours 255 is
# saved as 1, with 3 or 4 as 3, with 5 to 16 as 15. bits=8 at saving changes nothing, since it is only an
# upper limit. A label without a colour is kept in memory, in TIFF and in BMP. A palette of 256 colours is
# the cure.
#
# It hurts who marks what is not to be judged by 255, the usual number, beside few classes: with two colours
# every such pixel comes back as an object, and is trained on and counted.
#
# Seen (labels 0, 1 and 255):
#       2 colours: PNG [0, 1, 1], with bits=8 [0, 1, 1], TIFF [0, 1, 255]
#       3 colours: PNG [0, 1, 3], with bits=8 [0, 1, 3], TIFF [0, 1, 255]
#      11 colours: PNG [0, 1, 15], with bits=8 [0, 1, 15], TIFF [0, 1, 255]
#      21 colours: PNG [0, 1, 255], with bits=8 [0, 1, 255], TIFF [0, 1, 255]
#     256 colours: PNG [0, 1, 255], with bits=8 [0, 1, 255], TIFF [0, 1, 255]

set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/pip" install -qq "pillow==13.0.0" "numpy==2.4.6"
cd "$room"
"$room/venv/bin/python" - <<'EOF'
import io
import sys

import numpy as np
from PIL import Image


def saved(colours, form, **options):
    picture = Image.fromarray(np.array([[0, 1, 255]], np.uint8))
    picture.putpalette([c for k in range(colours) for c in (k, 50, 200)])  # mode P from here on
    memory = io.BytesIO()
    picture.save(memory, form, **options)
    again = Image.open(memory)
    assert picture.mode == again.mode == "P"
    assert np.asarray(picture)[0].tolist() == [0, 1, 255]
    return np.asarray(again)[0].tolist()


seen = {}
for colours in (2, 3, 11, 21, 256):
    png, asked, tiff = saved(colours, "PNG"), saved(colours, "PNG", bits=8), saved(colours, "TIFF")
    print(f"{colours:>3} colours: PNG {png}, with bits=8 {asked}, TIFF {tiff}")
    seen[colours] = (png[2], asked[2], tiff[2])
expected = {2: (1, 1, 255), 3: (3, 3, 255), 11: (15, 15, 255), 21: (255,) * 3, 256: (255,) * 3}
sys.exit(0 if seen == expected else "The behaviour has changed.")
EOF
