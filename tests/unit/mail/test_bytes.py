"""The bytes of a message are those of Django 5.2, whatever is in it.

Generated messages are built with both classes and written with both line ends. Date and Message-ID are given, and
boundaries drawn from the same seed. Left out is what differs on purpose; the tests by number say what that is.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailqueue.errors import BadHeaderError
from mailqueue.mail import message as ours
from mailqueue.mail.address import sanitize_address
from tests.unit.mail.generated import ENCODINGS, addresses, attributes, built, messages, names

EXAMPLES = settings(derandomize=True)


def outcome_of(function, *arguments):
    """What comes back, or the name of what is raised: bad addresses are ValueErrors of several kinds."""
    try:
        return function(*arguments)
    except (BadHeaderError, theirs_bad_header()):
        return "BadHeaderError"
    except UnicodeEncodeError as error:
        return "ValueError" if error.encoding == "idna" else "UnicodeEncodeError"
    except ValueError:
        return "ValueError"
    except Exception as error:  # noqa: BLE001 - whatever it is, both have to raise it
        return type(error).__name__


def theirs_bad_header():
    from django.core.mail import BadHeaderError as Theirs  # noqa: PLC0415 - after the settings

    return Theirs


def written(module, what, changes, linesep):
    """The message as bytes, or as text if there is no line separator."""
    part = built(module.EmailMultiAlternatives, module, what, changes).message()
    random.seed(0)
    return part.as_bytes(linesep=linesep) if linesep else part.as_string()


@pytest.fixture(scope="module")
def theirs(django_settings):
    from django.core.mail import message  # noqa: PLC0415 - after the settings

    return message


@pytest.fixture(scope="module", autouse=True)
def random_state():
    """``written()`` seeds the generator that others use as well."""
    state = random.getstate()
    yield
    random.setstate(state)


@EXAMPLES
@given(what=messages, changes=attributes, linesep=st.sampled_from(["\n", "\r\n", None]))
def test_the_bytes_are_those_of_django(theirs, what, changes, linesep):
    facts = (what, changes, linesep)
    assert outcome_of(written, ours, *facts) == outcome_of(written, theirs, *facts)


@EXAMPLES
@given(address=st.one_of(addresses(), st.tuples(names, addresses())), encoding=st.sampled_from(ENCODINGS[1:]))
def test_addresses_are_written_as_django_writes_them(theirs, address, encoding):
    expected = outcome_of(theirs.sanitize_address, address, encoding)
    assert outcome_of(sanitize_address, address, encoding) == expected
