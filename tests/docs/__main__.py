"""Write the pages of the reference that the code knows better: ``python -m tests.docs``."""

from .written import DOCS, PAGES

if __name__ == "__main__":
    for path, page in PAGES.items():
        (DOCS / path).write_text(page(), encoding="utf-8")
