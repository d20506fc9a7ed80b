"""`python -m governance.states`: print docs/states.md, or write it with `--write`."""

import sys
from pathlib import Path

from governance.states.page import render

PAGE = Path(__file__).parents[2] / "docs" / "states.md"

if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(render())
    else:
        sys.stdout.write(render())
