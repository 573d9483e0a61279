"""docs/architecture.md draws the states as the code has them."""

from __future__ import annotations

import re
from pathlib import Path

from mailqueue.ledger.states import FINAL, TRANSITIONS, State

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "architecture.md").read_text()


def drawn() -> list[tuple[str, str]]:
    """The arrows of the diagram of states."""
    diagram = PAGE.partition("stateDiagram-v2\n")[2].partition("```")[0]
    arrows = [re.fullmatch(r"(\S+) --> (\S+?)(: .+)?", line.strip()) for line in diagram.splitlines() if line.strip()]
    assert all(arrows), "a line of the diagram is no arrow"
    return [(arrow[1], arrow[2]) for arrow in arrows if arrow]


def test_the_diagram_is_the_table_of_transitions():
    inner = [arrow for arrow in drawn() if "[*]" not in arrow]
    assert sorted(inner) == sorted((str(old), str(new)) for old in TRANSITIONS for new in TRANSITIONS[old])


def test_it_ends_where_nothing_leads_on():
    ends = {old for old, new in drawn() if new == "[*]"}
    assert ends == {state for state in FINAL if not TRANSITIONS[state]}


def test_every_state_is_told_once_in_the_order_of_the_code():
    assert re.findall(r"^\| `([a-z]+)` \|", PAGE, re.MULTILINE) == [*State]


def test_links_to_headings_lead_to_one():
    for page in DOCS.glob("*.md"):
        for target, anchor in re.findall(r"\]\(([^)#:\s]*\.md)?#([^)\s]+)\)", page.read_text()):
            headings = re.findall(r"^#+ (.+)$", (page.parent / (target or page.name)).read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name} links to {target}#{anchor}"
