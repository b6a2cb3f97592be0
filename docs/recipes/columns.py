"""Write the table of result columns into docs/store.md, from their declarations.

``python docs/recipes/columns.py`` rewrites the page; a test holds it to the declarations.
"""

from __future__ import annotations

from pathlib import Path

from hwmodel.simulation.columns import LAYER_COLUMNS, TOTAL_COLUMNS, Column
from hwmodel.studies.comparison import COMPARISON_COLUMNS

PAGE = Path(__file__).parents[1] / "store.md"
BEGIN, END = "<!-- columns -->", "<!-- end of columns -->"
TABLES = {"layers": LAYER_COLUMNS, "totals": TOTAL_COLUMNS, "comparison": COMPARISON_COLUMNS}


def table() -> str:
    """Return the columns as Markdown: where each is, its unit, its dtype, what it means."""
    lines = ["| column | in | unit | dtype | meaning |", "|---|---|---|---|---|"]
    rows: dict[tuple[str, str], tuple[Column, list[str]]] = {}
    for name, columns in TABLES.items():
        for column in columns:
            rows.setdefault((column.name, column.meaning), (column, []))[1].append(name)
    for column, places in rows.values():
        unit = f"`{column.unit}`" if column.unit else "text"
        lines.append(
            f"| `{column.name}` | {', '.join(places)} | {unit} | {column.dtype.__name__} | {column.meaning} |"
        )
    return "\n".join(lines)


def page() -> str:
    """Return the page with the table as it should be."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
