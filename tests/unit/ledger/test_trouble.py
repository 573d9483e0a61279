"""What the store's errors mean to operators."""

from __future__ import annotations

import pytest
from redis import exceptions

from mailqueue.ledger.trouble import explain, is_fault


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.ConnectionError("Error 111 connecting to db:6379. Connection refused."), "start it, or correct"),
        (OSError("broken pipe"), "start it, or correct"),
        (exceptions.TimeoutError("Timeout reading from socket"), "did not answer within 1.5 s"),
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "is full"),
        (exceptions.ResponseError("Error running script: @user_script:7: -OOM command not allowed"), "is full"),
        (exceptions.ResponseError("MISCONF Valkey is configured to save RDB snapshots"), "free disk space"),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), "point MAILQUEUE_LEDGER_URL"),
        (exceptions.BusyLoadingError("Valkey is loading the dataset in memory"), "is loading"),
        (exceptions.NoPermissionError("User x has no permissions"), "grant it the commands"),
        (exceptions.AuthenticationError("invalid username-password pair"), "refused our user or password"),
        (exceptions.ResponseError("BUSY Valkey is busy running a script."), "is busy"),
        (exceptions.MasterDownError("Link with MASTER is down"), "lost its primary"),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), "too few replicas"),
        (exceptions.ClusterDownError("CLUSTERDOWN Hash slot not served"), "single primary"),
        (exceptions.MaxConnectionsError("Too many connections"), "maxclients"),
        (exceptions.ConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get issuer"), "through TLS"),
        (exceptions.ResponseError("ERR something new"), "refused the call (ERR something new)"),
    ],
)
def test_an_error_says_where_what_and_what_to_do(error, words):
    text = explain(error, "db.example.com:6379/0", 1.5)
    assert "db.example.com:6379/0" in text
    assert words in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "said",
    [
        "user_script:31: too many results to unpack script: 8a1f, on @user_script:31.",
        "ERR user_script:31: too many results to unpack script: 8a1f, on @user_script:31.",
        "Error running script (call to f_8a1f): @user_script:31: user_script:31: too many results to unpack",
        "WRONGTYPE Operation against a key holding the wrong kind of value script: 8a1f, on @user_script:3.",
    ],
)
def test_an_error_of_our_own_script_is_a_fault_that_no_repetition_mends(said):
    assert is_fault(exceptions.ResponseError(said))


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ResponseError("Error running script: @user_script:7: -OOM command not allowed"),
        exceptions.OutOfMemoryError("command not allowed script: 8a1f, on @user_script:31."),
        exceptions.ResponseError("MISCONF Valkey is configured to save script: 8a1f, on @user_script:31."),
        exceptions.ResponseError("ERR something new"),
        exceptions.ResponseError("ERR something new script: 8a1f, on @user_script:31."),
        exceptions.TimeoutError("user_script:31: no"),
        ConnectionRefusedError("no"),
    ],
)
def test_what_the_store_may_get_over_is_none(error):
    assert not is_fault(error)
