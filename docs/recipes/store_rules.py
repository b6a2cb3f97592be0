"""Write the table of what `bitx verify` holds counts and arrays to into docs/store.md, from the rules.

``python docs/recipes/store_rules.py`` rewrites the page; a test holds it to the rules.
"""

from __future__ import annotations

from pathlib import Path

from bitxcore.store.array_rules import ALL_OR_NONE, ALL_OR_NONE_WORDS, ARRAY_RULES, TENSOR_RULES
from bitxcore.store.count_rules import ADDED_UP, CROSS_RULES, KNOWN_RULES, ROW_RULES, UNIQUE_RULES

PAGE = Path(__file__).parents[1] / "store.md"
BEGIN, END = "<!-- rules -->", "<!-- end of rules -->"


def table() -> str:
    """Return the rules as Markdown: where, and what must hold."""
    rows: list[tuple[str, str]] = []
    for rule in ROW_RULES:
        tables = ", ".join(f"`/{name}`" for name in rule.tables)
        rows.append((f"`{rule.column}` of {tables}", f"is {rule.words}"))
    rows += [(f"`/{rule.table}`", f"has {rule.words}") for rule in UNIQUE_RULES]
    rows += [(f"rows of `/{rule.table}`", f"have {rule.words}") for rule in KNOWN_RULES]
    sums = "the sum of that column in /simulation, rows without a reason, per accelerator"
    rows.append((f"{', '.join(f'`{name}`' for name in ADDED_UP)} of `/networks`", f"are each {sums}"))
    for cross in CROSS_RULES:
        if (cross.target, cross.source) == ("networks", "simulation") and cross.into in ADDED_UP:
            continue
        rows.append((f"`{cross.into}` of `/{cross.target}`", f"is {cross.words}"))
    for array in ARRAY_RULES:
        attrs = (
            f", with the attributes {', '.join(f'`{name}`' for name in array.attrs)}" if array.attrs else ""
        )
        rows.append((f"array `{array.array}` of a tensor{attrs}", f"must {array.words}"))
    for tensor in TENSOR_RULES:
        words = tensor.words.format(array=f"its array `{tensor.array}`")
        rows.append((f"`{tensor.column}` of a tensor in `/{tensor.table}`", f"is {words}"))
    rows += [(f"`tensor` of `/{name}`", f"must {ALL_OR_NONE_WORDS}") for name in ALL_OR_NONE]
    return "\n".join(["| where | rule |", "|---|---|", *(f"| {where} | {words} |" for where, words in rows)])


def page() -> str:
    """Return the page with the table as it should be."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
