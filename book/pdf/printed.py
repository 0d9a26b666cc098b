"""What the printed book holds, read out of the PDF itself: pages, fonts, links, contents.

`make pdf` writes it to book/pdf/log.json, and fails where a font is not embedded, a link leads nowhere, a
chapter is missing from the outline, or the file is heavier than `HEAVIEST`.
"""

import pikepdf  # of the extra `pdf`

HEAVIEST = 25_000_000  # bytes: what a letter may carry


def printed(path):
    """Its measures, as they are written down."""
    with pikepdf.open(path) as pdf:
        links = [link for page in pdf.pages for link in page.get("/Annots", []) if link.Subtype == "/Link"]
        inside = [link for link in links if "/Dest" in link]
        places = _names(pdf)
        fonts = [font for page in pdf.pages for font in page.resources.get("/Font", {}).values()]
        return {
            "bytes": path.stat().st_size,
            "pages": len(pdf.pages),
            "fonts": sorted({_family(font) for font in fonts}),
            "not embedded": sorted({_family(font) for font in fonts if not _is_embedded(font)}),
            "links inside": len(inside),
            "links out": sum("/A" in link and "/URI" in link.A for link in links),
            "links nowhere": sorted({str(link.Dest) for link in inside if not _leads(link.Dest, places)}),
            "contents": [item.title for item in _outline(pdf)],
        }


def faults(found, chapters):
    """What is wrong with a book that ought to have these titles, each as a sentence."""
    missing = [title for title in chapters if title not in found["contents"]]
    wrong = [f"the font {name} is not embedded" for name in found["not embedded"]]
    wrong += [f"a link leads to {place}, which is no place" for place in found["links nowhere"]]
    wrong += [f"“{title}” is not in the contents" for title in missing]
    if found["bytes"] > HEAVIEST:
        wrong.append(f"the file has {found['bytes'] / 1e6:.1f} MB, more than {HEAVIEST / 1e6:.0f}")
    return wrong


def _outline(pdf):
    """The titles of the outline at its top: one for each page of the book."""
    with pdf.open_outline() as outline:
        return list(outline.root)


def _names(pdf):
    """The named places of the document."""
    listed = pdf.Root.get("/Dests", {})
    tree = pdf.Root.get("/Names", {}).get("/Dests")
    return {*listed.keys(), *(pikepdf.NameTree(tree).keys() if tree is not None else ())}


def _leads(place, places):
    """A link names a place of the document, or gives the page itself."""
    return isinstance(place, pikepdf.Array) or str(place) in places


def _family(font):
    """Its name without the six letters that mark the part of it which is there."""
    return str(font.get("/BaseFont", font.get("/Name", "/drawn"))).lstrip("/").split("+")[-1]


def _is_embedded(font):
    """A font of Type 3 is drawn in the document; others bring their file."""
    if font.Subtype == "/Type3":
        return True
    described = font.DescendantFonts[0] if font.Subtype == "/Type0" else font
    files = {"/FontFile", "/FontFile2", "/FontFile3"}
    return not files.isdisjoint(described.get("/FontDescriptor", {}).keys())
