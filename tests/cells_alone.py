"""`python -I -S cells_alone.py FOLDER < {page: {cell: source}}` prints what each cell shows, as JSON.

The cells of a page share a namespace, as they do in the browser; FOLDER holds the pack and NumPy alone.
"""

import json
import sys

sys.path.append(sys.argv[1])

import cell  # from FOLDER


def shown(cells):
    namespace = {"__name__": "__main__"}
    return {name: cell.run(source, name, namespace) for name, source in cells.items()}


print(json.dumps({page: shown(cells) for page, cells in json.load(sys.stdin).items()}))
