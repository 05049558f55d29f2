"""Generate the documentation page of the fault matrix: ``python -m tests.faults``."""

from .page import PAGE, page

if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
