"""What the benchmarks of scale make of their rows, and when a drain does not count."""

from __future__ import annotations

import json
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import pytest

from benchmarks.helper import ROOT
from benchmarks.page import fill
from benchmarks.scale import __main__ as program
from benchmarks.scale.fill import letter, note
from benchmarks.scale.report import blocks, plot
from benchmarks.scale.rig import Rig, RigTrouble
from benchmarks.scale.urgent import spread
from benchmarks.sink import Arrival
from mailqueue.ledger.base import Submission
from mailqueue.ledger.memory import MemoryLedger

CPU = {"cpu_worker": 50e-6, "cpu_store": 40e-6, "cpu_sink": 5e-6}
CALLS = {"evalsha": [0.03, 1000.0]}


def results(*rows, failures=()):
    return {
        "machine": {"when": "2026-01-01", "processor": "one", "cores": 2, "python": "CPython"},
        "store": "9.1",
        "rows": rows,
        "failures": list(failures),
    }


def drained(experiment, rate, **what):
    return {"experiment": experiment, "rate": rate, "calls": CALLS, **CPU, **what}


def test_throughput_is_told_by_depth_and_against_the_first():
    rows = [drained("depth", rate, depth=depth) for depth, rate in ((50, 1000.0), (50, 1200.0), (300, 990.0))]
    table = blocks(results(*rows))["scale-depth"].splitlines()
    assert table[2] == "| 50 | 1,100 ± 9 % | 1.00x | 50.0 us | 40.0 us | 5.00 us | 30.0 us |"
    assert table[3] == "| 300 | 990 | 0.90x | 50.0 us | 40.0 us | 5.00 us | 30.0 us |"


def test_the_plot_is_an_image_of_all_depths():
    rows = [drained("depth", rate, depth=depth) for depth, rate in ((50_000, 1000.0), (1_000_000, 990.0))]
    drawn = plot(results(*rows))
    assert ET.fromstring(drawn).tag.endswith("svg")
    assert "1,000,000" in drawn


def test_urgent_mail_and_processes_and_memory_have_tables():
    told = blocks(
        results(
            {"experiment": "urgent", "processes": 1, "rtt": 20.0, "messages": 400, "others": 900.0}
            | {"p50": 0.04, "p95": 0.1, "longest": 0.2},
            drained("fleet", 5000.0, processes=4),
            {"experiment": "memory", "kind": "letter", "shape": "one", "messages": 100, "waiting": 3000.4},
            {
                "experiment": "memory",
                "kind": "letter",
                "shape": "parcels",
                "messages": 100,
                "waiting": 2000,
                "sent": 300,
            },
        )
    )
    assert "| 1, relay 20 ms away | 400 | 40.0 ms | 100 ms | 200 ms | 900/s |" in told["scale-urgent"]
    assert "| 4 | 5,000 | 50.0 us | 40.0 us | 5.00 us |" in told["scale-processes"]
    assert "| letter | 100 | 3,000 | 2,000 | 300 | 0.3 MB |" in told["scale-memory"]


def test_what_failed_is_told_on_the_page():
    assert "FAILED: depth: lost" in blocks(results(failures=["depth: lost"]))["scale-machine"]


def test_the_page_has_a_place_for_each_block():
    page = (ROOT / "docs" / "performance.md").read_text()
    assert fill(page, blocks(results()))


def test_the_usual_wait_and_the_longest():
    waits = [number / 100 for number in range(1, 101)]
    assert spread(waits) == pytest.approx({"messages": 100, "p50": 0.505, "p95": 0.9505, "longest": 1.0})


def test_too_few_urgent_messages_say_nothing():
    with pytest.raises(RigTrouble, match="only 3"):
        spread([0.1] * 3)


@pytest.mark.parametrize("make", [note, letter])
def test_no_two_messages_go_to_the_same_address(make):
    assert len({make(number).to[0] for number in range(50)}) == 50


# -- What counts


@pytest.fixture
def rig():
    rig = Rig("test")
    rig.ledger = MemoryLedger()
    return rig


def sent(rig, *recipients):
    rig.ledger.counts = lambda: {"default": {"sent": len(recipients)}}
    return [Arrival(1.0, (recipient,)) for recipient in recipients]


def test_a_drain_counts_if_all_that_arrived_was_recorded_as_sent(rig):
    rig.compare(sent(rig, "a@example.com", "b@example.com"))


def test_mail_that_came_twice_does_not_count(rig):
    with pytest.raises(RigTrouble, match="1 came twice"):
        rig.compare(sent(rig, "a@example.com", "a@example.com"))


def test_nor_does_mail_that_came_in_two_drains(rig):
    rig.compare(sent(rig, "a@example.com"))
    with pytest.raises(RigTrouble, match="1 came twice"):
        rig.compare(sent(rig, "a@example.com"))


def test_nor_what_the_ledger_does_not_know_of(rig):
    arrivals = sent(rig, "a@example.com", "b@example.com")
    rig.ledger.counts = lambda: {"default": {"sent": 1}}
    with pytest.raises(RigTrouble, match="2 arrived, 1 were recorded"):
        rig.compare(arrivals)


def test_nor_a_drain_in_which_something_was_recovered(rig):
    arrivals = sent(rig, "a@example.com")
    rig.ledger.counters = lambda: {"lost": 1, "outages": 1}
    with pytest.raises(RigTrouble, match=r"\{'lost': 1\}"):
        rig.compare(arrivals)


def test_what_waits_is_queued_or_deferred(rig):
    rig.ledger.accept("bulk", [Submission(each, b"x") for each in "abc"])
    rig.ledger.claim("bulk", ["a", "b"], token="t", owner="o:1")
    rig.ledger.release(["a"], "t")
    assert rig.waiting == 2


# -- The program


def test_only_a_full_run_is_written_to_docs(monkeypatch, tmp_path, capsys):
    published = []
    row = drained("depth", 1000.0, depth=50)
    monkeypatch.setattr(program, "publish", published.append)
    monkeypatch.setattr(program, "_version", lambda: "9.1")
    monkeypatch.setattr(program, "experiments", lambda **_: {name: lambda: iter([row]) for name in program.EXPERIMENTS})
    kept = tmp_path / "rows.json"
    assert program.main(["--quick", "--json", str(kept)]) == 0
    assert program.main(["--only", "depth", "--json", str(kept)]) == 0
    assert published == []
    assert program.main(["--json", str(kept)]) == 0
    assert len(published) == 1
    assert len(json.loads(kept.read_text())["rows"]) == 4


def test_an_experiment_that_fails_keeps_its_rows_and_the_others(monkeypatch, tmp_path, capsys):
    def broken():
        yield drained("depth", 1000.0, depth=50)
        raise RigTrouble("1 came twice")

    kept = tmp_path / "rows.json"
    monkeypatch.setattr(program, "_version", lambda: "9.1")
    monkeypatch.setattr(
        program,
        "experiments",
        lambda **_: {"depth": broken, "fleet": lambda: iter([drained("fleet", 1.0, processes=1)])},
    )
    assert program.main(["--quick", "--json", str(kept)]) == 1
    told = json.loads(kept.read_text())
    assert [row["experiment"] for row in told["rows"]] == ["depth", "fleet"]
    assert told["failures"] == ["depth: 1 came twice"]


def test_docs_are_written_again_from_kept_rows(monkeypatch, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- generated: {name} -->\n<!-- end -->\n" for name in blocks(results())))
    monkeypatch.setattr(program, "PAGE", page)
    monkeypatch.setattr(program, "DIRECTORY", tmp_path)
    kept = tmp_path / "rows.json"
    kept.write_text(json.dumps(results(drained("depth", 1234.0, depth=50))))
    assert program.main(["--from", str(kept)]) == 0
    assert "| 1,234 |" in page.read_text()
    assert (tmp_path / "depth.svg").exists()


def test_a_quick_run_has_a_tenth_of_the_messages(monkeypatch):
    asked = {}
    for name in program.EXPERIMENTS:
        monkeypatch.setattr(program, name, lambda name=name, **given: asked.update({name: SimpleNamespace(**given)}))
    for measure in program.experiments(quick=True, rounds=3).values():
        measure()
    assert asked["depth"].depths == [5_000, 30_000, 100_000]
    assert asked["depth"].rounds == 1
