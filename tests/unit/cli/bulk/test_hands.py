"""Campaigns are paused, resumed, withdrawn and sent again by hand; what cannot be done is told in one line."""

from __future__ import annotations

from mailqueue import bulk


def test_pauses_and_resumes(run, spring):
    spring()
    assert run("pause", "spring-news").output == "spring-news is paused at 0 of 3 recipients\n"
    assert bulk.status("spring-news").state == "paused"
    assert run("resume", "spring-news").output == "spring-news is running\n"
    assert bulk.status("spring-news").state == "running"


def test_withdraws_if_one_says_yes(run, spring):
    spring()
    assert run("cancel", "spring-news", text="n\n").exit_code == 1
    assert bulk.status("spring-news").state == "running"
    result = run("cancel", "spring-news", text="y\n")
    assert "3 recipients of 3 will not get it" in result.output
    assert "spring-news is cancelled at 0 of 3 recipients" in result.output


def test_withdraws_unasked(run, spring):
    spring()
    assert run("cancel", "spring-news", "--yes").exit_code == 0
    assert bulk.status("spring-news").state == "cancelled"


def test_what_has_ended_cannot_be_paused(run, spring):
    spring()
    bulk.cancel("spring-news")
    result = run("pause", "spring-news")
    assert result.exit_code == 1
    assert result.output.startswith("mailqueue: ")
    assert "Traceback" not in result.output


def test_nobody_is_sent_to_again_if_nobody_was_refused(run, spring):
    spring()
    assert run("retry", "spring-news").output == "spring-news: nobody was refused\n"


def test_each_needs_a_campaign_that_there_is(run):
    for command in (("pause",), ("resume",), ("cancel", "--yes"), ("retry",), ("export",)):
        result = run(*command, "nobody")
        assert result.exit_code == 1, command
        assert "no campaign 'nobody'" in result.output
