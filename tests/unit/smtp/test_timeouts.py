"""How long each stage waits."""

from __future__ import annotations

import pytest

from mailqueue.smtp.classify import Stage
from mailqueue.smtp.timeouts import RFC_5321, Timeouts


@pytest.mark.parametrize(("seconds", "quit_"), [(3, 3), (60, 5), (None, None)])
def test_one_timeout_for_all_is_cut_short_for_quit(seconds, quit_):
    timeouts = Timeouts.uniform(seconds)
    assert timeouts.reply(Stage.QUIT) == quit_
    assert timeouts.reply(Stage.FINAL) == timeouts.connect == timeouts.reply(Stage.MAIL) == seconds


def test_by_the_rfc_a_farewell_is_short_too():
    assert RFC_5321.reply(Stage.QUIT) == 5
