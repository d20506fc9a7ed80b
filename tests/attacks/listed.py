"""`python -m tests.attacks.listed` writes docs/attacks.md: every named attack with its test.

The page is made from the tests themselves, so that none is named that is not tried.
"""

import ast
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
PAGE: Final = FOLDER.parents[1] / "docs" / "attacks.md"

HEAD: Final = """# Named attacks

Each is a test that ends in its own refusal; a few show that what is genuine is let in. \
`pytest tests/attacks` tries them all. Written by `python -m tests.attacks.listed` from the tests.
"""


def page() -> str:
    """The page as it should be, Markdown."""
    parts = [HEAD]
    for file in sorted(set(FOLDER.glob("test_*.py")) - {FOLDER / "test_page.py"}):
        module = ast.parse(file.read_text())
        about = (ast.get_docstring(module) or file.stem).splitlines()[0]
        tests = [
            node.name
            for node in module.body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]
        where = f"../{file.relative_to(FOLDER.parents[1])}"
        lines = (f"- `{name}`" for name in tests)
        parts.append(f"## [{file.name}]({where})\n\n{about}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
