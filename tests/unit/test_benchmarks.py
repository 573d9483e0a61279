"""The benchmarks' own judgement: medians and ratios, what counts as lost, the plan, and what is written of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.__main__ import arguments_of, main
from benchmarks.environments import EnvironmentTrouble, python_of
from benchmarks.figures import digits, figure, ratio
from benchmarks.helper import ROOT
from benchmarks.letters import address, digest, expected, letter, missing, pdf
from benchmarks.page import fill
from benchmarks.plan import CHUNKING, FAR, PIPELINING, PLAIN, plan, rounds_of
from benchmarks.plot import Line, chart
from benchmarks.report import blocks, plot
from benchmarks.results import Results, save
from benchmarks.systems import SYSTEMS
from benchmarks.usage import cpu_of, tree
from mailqueue.mail import EmailMultiAlternatives


def mime(item, **more):
    message = EmailMultiAlternatives(item.subject, item.text, "Shop <orders@shop.example>", [item.recipient], **more)
    message.attach_alternative(item.html, "text/html")
    return message.message().as_bytes()


# -- Figures


def test_a_figure_is_the_median_and_tells_how_far_the_runs_lie_apart():
    found = figure([12.0, 10.0, None, 11.0])
    assert (found.median, found.low, found.high, found.runs) == (11.0, 10.0, 12.0, 3)
    assert str(found) == "11.0 ± 9 %"


def test_one_run_has_no_spread():
    assert str(figure([1234.5])) == "1,234"


def test_what_was_not_measured_is_no_figure():
    assert figure([]) is None
    assert figure([None]) is None
    assert ratio(None, figure([1.0])) is None
    assert ratio(figure([1.0]), figure([0.0])) is None


def test_a_ratio_is_that_of_the_medians():
    assert ratio(figure([3.0, 9.0, 6.0]), figure([2.0])) == 3.0


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.123, "0.12"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234")]
)
def test_digits_are_three(value, text):
    assert digits(value) == text


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="CPU time of others is read from /proc")
def test_cpu_time_is_that_of_a_process_and_its_children():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        try:
            assert set(tree(os.getpid())) >= {os.getpid(), child.pid}
            mine = sum(os.times()[:4])
            assert cpu_of(os.getpid()) >= mine - 0.1
        finally:
            child.kill()
    assert cpu_of(child.pid) == 0


# -- The mail


def test_a_letter_is_2_kb_and_unlike_any_other():
    item, other = letter(1), letter(2)
    assert 1900 <= len(item.text) + len(item.html) <= 2200
    assert 1900 <= len(item.plain) <= 2200
    assert item.text != other.text
    assert item.html != other.html
    assert pdf(1000) == pdf(1000)
    assert len(pdf(1000)) == 1000


def test_a_digest_sees_the_content_and_not_its_wrapping():
    item = letter(7)
    assert digest(mime(item)) == expected(item)
    assert digest(mime(item, headers={"X-Mailer": "other", "Message-ID": "<a@b>"})) == expected(item)
    assert digest(mime(item).replace(b"order 7", b"order 8")) != expected(item)
    assert expected(item, plain=True) != expected(item)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([0, 1, 2], ""),
        ([2, 1, 0], ""),
        ([0, 2], "1 lost"),
        ([0, 1, 2, 1], "1 sent twice"),
        ([0, 2, 2, 9], "1 lost, 1 not ours, 1 sent twice"),
    ],
)
def test_what_is_wrong_with_who_got_mail(numbers, words):
    assert missing(map(address, numbers), 3) == words


# -- The plan


def test_the_plan_is_interleaved_round_by_round():
    turns = list(rounds_of(plan(rounds=3)))
    assert [number for number, _ in turns] == sorted(number for number, _ in turns)
    assert {number for number, case in turns if case.scenario == "one"} == {0, 1, 2}
    assert {number for number, case in turns if case.scenario == "check"} == {0}


def test_all_systems_are_measured_and_those_that_queue_are_checked():
    cases = plan()
    assert {case.system for case in cases} == set(SYSTEMS)
    checked = {case.system for case in cases if case.record}
    assert checked >= {"mailqueue", "django-celery-email-1", "post-office-5", "django-mailer", "plain-celery"}


def test_a_quick_run_has_one_round_of_everything_that_has_a_budget():
    full, quick = plan(), plan(quick=True)
    assert {case.rounds for case in quick} == {1}
    assert {case.key for case in quick} == {case.key for case in full if case.rounds > 1 or case.scenario == "attached"}


def test_only_some_systems():
    assert {case.system for case in plan(only=["smtplib"])} == {"smtplib"}


def test_a_case_says_what_it_is():
    words = {str(case) for case in plan()}
    assert "far: mailqueue, 20 ms, relay with pipelining" in words
    assert "far: mailqueue, 50 ms, relay with no extension" in words


# -- The command line


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--only", "sendmail"], ["--rounds", "many"]])
def test_a_wrong_argument_is_told(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        arguments_of(words)
    assert words[0] in capsys.readouterr().err


def test_a_peer_that_cannot_be_installed_fails_the_run_and_is_named(monkeypatch, capsys):
    def nothing(name, requirements):
        raise EnvironmentTrouble(f"no {name} here")

    monkeypatch.setattr("benchmarks.__main__.python_of", nothing)
    assert main(["--only", "django-mailer"]) == 1
    assert "MISSING\nno django-mailer here" in capsys.readouterr().err


def test_an_environment_is_made_once(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr("benchmarks.environments.shutil.which", lambda _name: "uv")

    def run(command):
        commands.append(command[1:3])
        (tmp_path / "peer").mkdir(exist_ok=True)

    monkeypatch.setattr("benchmarks.environments._run", run)
    assert python_of("peer", ["peer>=1"], tmp_path) == tmp_path / "peer/bin/python"
    assert commands == [["venv", "--quiet"], ["pip", "install"]]
    python_of("peer", ["peer>=1"], tmp_path)
    assert len(commands) == 2
    python_of("peer", ["peer>=2"], tmp_path)
    assert len(commands) == 4


def test_an_installer_that_fails_is_quoted(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.environments.shutil.which", lambda _name: "/bin/false")
    with pytest.raises(EnvironmentTrouble, match="ended with 1"):
        python_of("peer", ["peer"], tmp_path)


# -- What is written


def row(scenario, system, rate, *, rtt=0, offer=CHUNKING, us=100.0, store=5000.0, timed=1000):
    return {
        "scenario": scenario,
        "system": system,
        "offer": "+".join(offer),
        "rtt": rtt,
        "messages": timed,
        "enqueue": {
            "timed": timed,
            "seconds": timed * us / 1e6,
            "p50": us / 1e6,
            "p99": us / 5e5,
            "cpu": timed * us / 1e6,
            "rss_growth": 1048576,
            "store_bytes": store,
        },
        "drain": {"rate": rate, "seconds": 1.0, "cpu_worker": 1 / rate, "cpu_store": 1e-5, "cpu_sink": 1e-5},
    }


def results(**more):
    render = {"small": 30e-6, "attached": 3e-3, "shared": 1e-4, "base64": 2.5e-3, "base64_without_lines": 1e-3}
    return {
        "machine": {"when": "2030-01-01", "processor": "A processor", "cores": 2, "system": "Linux 6", "python": "3"},
        "versions": {"celery": "5.7.0"},
        "missing": {},
        "failures": [],
        "render": {"mailqueue": render, "django": render},
        "account": {"1": {"claim": 5.0, "the store": 40.0}, "100": {"claim": 4.0, "the store": 30.0}},
        "rows": [
            row("one", "mailqueue", 2000.0, us=200, store=3000),
            row("one", "mailqueue", 3000.0, us=200, store=3000),
            row("one", "django-celery-email-1", 500.0, us=400),
            row("mass", "mailqueue", 3000.0, us=40),
            row("mass", "mailqueue", 1000.0, us=40, offer=PLAIN),
            row("mass", "django-celery-email-100", 1500.0, us=20),
            row("far", "mailqueue", 1100.0, rtt=FAR),
            row("far", "mailqueue", 44.0, rtt=FAR, offer=PIPELINING),
            row("far", "mailqueue-4", 176.0, rtt=FAR, offer=PIPELINING),
            row("far", "smtplib", 11.0, rtt=FAR),
            row("attached", "mailqueue", 1.0, store=17_000),
        ],
        **more,
    }


def line_of(table, start):
    (found,) = [line for line in table.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_the_budgets_are_judged_by_the_same_run():
    table = blocks(Results(results()))["budgets"]
    assert line_of(table, "enqueue one")[2:] == ["200 us: 0.50x", "400 us (raw LPUSH -)", "yes"]
    assert line_of(table, "drain, one message")[2:] == ["2,500 ± 20 %/s: 5.00x", "500/s", "yes"]
    assert line_of(table, "drain after `send_mass_mail`")[2:] == ["3,000/s: 2.00x", "1,500/s", "**no**"]
    assert line_of(table, f"drain, relay {FAR} ms away, PIPELINING")[-1] == "yes"
    assert line_of(table, "the same with 4")[2] == "176/s: 4.00x"
    assert line_of(table, "render with")[2] == "3.00 ms: 1.20x"
    assert line_of(table, "Redis memory of a 1 MB")[2:] == ["1.7 MB", "-", "yes"]


def test_what_was_not_measured_is_a_dash_and_neither_met_nor_missed():
    empty = results(rows=[], render={}, account={})
    told = blocks(Results(empty))
    assert {line_of(told["budgets"], start)[-1] for start in ("enqueue one", "drain after", "render with")} == {"-"}


def test_a_workers_time_is_told_by_step():
    told = blocks(Results(results()))["account"]
    assert line_of(told, "claim") == ["claim", "5.00", "4.00", "the ledger's claim"]


def test_failures_and_missing_peers_are_told_on_the_page():
    told = blocks(Results(results(failures=["one: x: 1 lost\nlog"], missing={"django-mailer": "no"})))["machine"]
    assert "FAILED: one: x: 1 lost" in told
    assert "could not be installed: django-mailer" in told
    assert "log" not in told


def test_the_page_has_a_place_for_each_block():
    page = (ROOT / "docs/performance.md").read_text()
    once = fill(page, blocks(Results(results())))
    assert "2,500 ± 20 %/s: 5.00x" in once
    assert fill(once, blocks(Results(results()))) == once


def test_a_block_without_a_place_is_an_error():
    with pytest.raises(ValueError, match="nowhere"):
        fill("# Page\n", {"nowhere": "text"})


def test_results_are_kept_one_run_a_line(tmp_path):
    path = tmp_path / "kept" / "results.json"
    save(results(), path)
    assert json.loads(path.read_text()) == results()
    assert sum('"scenario"' in line for line in path.read_text().splitlines()) == len(results()["rows"])


def test_kept_results_are_written_to_docs_again(tmp_path, monkeypatch):
    page, kept = tmp_path / "performance.md", tmp_path / "kept.json"
    page.write_text((ROOT / "docs/performance.md").read_text())
    monkeypatch.setattr("benchmarks.__main__.PAGE", page)
    monkeypatch.setattr("benchmarks.__main__.DIRECTORY", tmp_path / "performance")
    save(results(), kept)
    assert main(["--from", str(kept)]) == 0
    assert "Measured on 2030-01-01" in page.read_text()
    assert json.loads((tmp_path / "performance/results.json").read_text()) == results()
    assert (tmp_path / "performance/distance.svg").read_text() == plot(Results(results()))


def test_the_plot_is_an_svg_with_all_lines():
    tree = ET.fromstring(plot(Results(results())))
    texts = " ".join(text.text for text in tree.iter("{http://www.w3.org/2000/svg}text"))
    for words in ("mailqueue, CHUNKING (1,100)", "mailqueue, PIPELINING only (44.0)", "floor: smtplib"):
        assert words in texts


def test_a_chart_from_zero_has_round_steps_and_keeps_names_apart():
    lines = [Line("a & b", {"50k": 900.0, "1M": 880.0}, ours=True), Line("c", {"50k": 890.0})]
    text = chart("By depth", ["50k", "1M"], lines, x_title="depth", y_title="messages/s", logarithmic=False)
    tree = ET.fromstring(text)
    names = {
        found.text: float(found.get("y"))
        for found in tree.iter("{http://www.w3.org/2000/svg}text")
        if found.text.startswith(("a & b", "c ("))
    }
    assert sorted(names) == ["a & b (880)", "c (890)"]
    assert abs(names["a & b (880)"] - names["c (890)"]) > 14
