"""Runs what it reads where NumPy is alone and no process can be started, as on a page.

`python -I -S one_process.py FOLDER`.
"""

import sys

sys.path.insert(0, sys.argv[1])
__import__("numpy")  # before the platform is another
sys.platform = "emscripten"
exec(sys.stdin.read())
