"""The million's figures become a table of the page, in all and for each recipient."""

from __future__ import annotations

import json

import pytest

from benchmarks.scale import loading, million

ROW = {
    "experiment": "million",
    "recipients": 1_000_000,
    "seconds": 50.0,
    "early": 100_000,
    "rss_early": 60 * 2**20,
    "rss": 61 * 2**20,
    "data": 120_000_000,
    "store": 95_000_000,
    "keys": {"chunks": 55_000_000, "index": 38_000_000},
}
SENT = {"sent_seconds": 200.0, "store_ended": 110_000_000, "keys_ended": {"chunks": 55_000_000, "index": 52_000_000}}


def results(**more):
    return {"machine": {"when": "2026-11-28", "processor": "x", "cores": 2}, "rows": [ROW | more]}


def test_what_it_takes_is_told_in_all_and_for_each():
    text = million.blocks(results())["million"]
    assert "| loaded, each tried with the template | 50 s | 20,000/s |" in text
    assert "| memory of the process at 100,000 | 60 MiB |  |" in text
    assert "| memory of the process at 1,000,000 | 61 MiB |  |" in text
    assert "| store, all waiting | 95 MB | 95 octets |" in text
    assert "final records" not in text


def test_a_drain_is_told_as_well():
    text = million.blocks(results(**SENT))["million"]
    assert "| sent by two workers | 200 s | 5,000/s |" in text
    assert "| final records | 52 MB | 52 octets |" in text


def test_only_a_full_run_is_written_to_docs(monkeypatch, tmp_path, capsys):
    written = []
    monkeypatch.setattr(million, "measure", lambda count, **_: ROW | {"recipients": count})
    monkeypatch.setattr(million, "publish", written.append)
    monkeypatch.setattr(million, "LATEST", tmp_path / "million.json")
    assert million.main(["--quick"]) == 0
    assert not written
    assert million.main([]) == 0
    assert len(written) == 1
    assert "1,000,000 recipients" in capsys.readouterr().out


def test_docs_are_written_again_from_kept_rows(monkeypatch, tmp_path):
    monkeypatch.setattr(million, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(million, "KEPT", tmp_path / "million.json")
    million.PAGE.write_text("# x\n<!-- generated: million -->\nold\n<!-- end -->\n")
    (tmp_path / "rows.json").write_text(json.dumps(results()))
    assert million.main(["--from", str(tmp_path / "rows.json")]) == 0
    assert "95 octets" in million.PAGE.read_text()


def test_the_page_has_a_place_for_it():
    assert "<!-- generated: million -->" in million.PAGE.read_text()


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_no_two_recipients_share_an_address(count):
    assert len({address for address, _ in loading.recipients(count)}) == count
