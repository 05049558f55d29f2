"""Generate the reference pages that come from the code: ``python -m tests.docs``."""

from .written import DOCS, PAGES

if __name__ == "__main__":
    for path, page in PAGES.items():
        (DOCS / path).write_text(page(), encoding="utf-8")
