"""DKIM signatures that other software verifies: RSA and ed25519, with the fields of bulk mail in them."""

from __future__ import annotations

import base64
import re
import sys
import time

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mailqueue.conf.consent import Signing
from mailqueue.errors import ImproperlyConfigured
from mailqueue.mail import EmailMultiAlternatives
from mailqueue.mail.render import render
from mailqueue.mail.signature import Signer

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PKCS1, PKCS8 = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8


def pem(key, form=PKCS8, password=None):
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(PEM, form, locked).decode()


RSA = rsa.generate_private_key(65537, 2048)
ED = ed25519.Ed25519PrivateKey.generate()
SEED = base64.b64encode(ED.private_bytes_raw()).decode()
RECORDS = {
    b"mail._domainkey.example.com.": b"v=DKIM1; k=rsa; p="
    + base64.b64encode(RSA.public_key().public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)),
    b"ed._domainkey.example.com.": b"v=DKIM1; k=ed25519; p=" + base64.b64encode(ED.public_key().public_bytes_raw()),
}


def signing(key, selector="mail", **more):
    return Signing("example.com", selector, key, **more)


def verified(octets, place=0):
    return dkim.DKIM(octets).verify(place, dnsfunc=lambda name, timeout=5: RECORDS.get(name, b""))


def message(**more):
    headers = {
        "List-Unsubscribe": "<https://example.com/u/" + "x" * 90 + ">",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "X-Campaign": "spring",
    }
    found = EmailMultiAlternatives(
        "Grüße " * 20, "Hëllo\n\n\n", "Ann <ann@example.com>", ["bob@example.com"], headers=headers
    )
    found.attach_alternative("<p>Hello  there </p>\n", "text/html")
    found.attach("data.bin", bytes(range(256)) * 20, "application/octet-stream")
    for name, value in more.items():
        setattr(found, name, value)
    return render(found)


def fields_of(octets, place=0):
    """The tags of a signature."""
    field = re.findall(rb"(?m)^DKIM-Signature:((?:[^\n]*\n)(?:[ \t][^\n]*\n)*)", octets)[place]
    return dict(re.sub(r"\s", "", part).split("=", 1) for part in field.decode().split(";"))


@pytest.mark.parametrize(
    ("key", "selector", "algorithm"),
    [
        (pem(RSA), "mail", "rsa-sha256"),
        (pem(RSA, PKCS1), "mail", "rsa-sha256"),
        (pem(RSA).replace("\n", "\\n"), "mail", "rsa-sha256"),
        (pem(RSA).replace("\n", "\r\n"), "mail", "rsa-sha256"),
        (pem(ED), "ed", "ed25519-sha256"),
        (SEED, "ed", "ed25519-sha256"),
    ],
    ids=["PKCS8", "PKCS1", "escaped", "CRLF", "ed25519", "seed"],
)
def test_other_software_verifies_it(key, selector, algorithm):
    octets = message()
    signed = Signer([signing(key, selector)], clock=lambda: 1_800_000_000.0).sign(octets)
    assert signed.endswith(octets)
    fields = fields_of(signed)
    assert {name: fields[name] for name in "vacds"} == {
        "v": "1",
        "a": algorithm,
        "c": "relaxed/simple",
        "d": "example.com",
        "s": selector,
    }
    signed = Signer([signing(key, selector)]).sign(octets)
    assert verified(signed)
    assert dkim.verify(signed, dnsfunc=lambda name, timeout=5: RECORDS.get(name, b""))
    assert abs(int(fields_of(signed)["t"]) - time.time()) < 60


def test_what_rfc_8058_demands_is_signed_and_from_is_sealed():
    names = fields_of(Signer([signing(SEED, "ed")]).sign(message()))["h"].split(":")
    assert names.count("from") == names.count("list-unsubscribe") == names.count("list-unsubscribe-post") == 2
    assert {"to", "subject", "date", "message-id", "mime-version", "content-type"} <= set(names)
    assert "x-campaign" not in names
    assert "cc" not in names


def test_further_fields_are_signed_if_they_are_named():
    names = fields_of(Signer([signing(SEED, "ed", headers=("x-campaign", "x-nothing"))]).sign(message()))["h"].split(
        ":"
    )
    assert names.count("x-campaign") == 1
    assert "x-nothing" not in names


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Hello  there", b"Hello there"),
        (b"List-Unsubscribe-Post: List-Unsubscribe=One-Click", b"List-Unsubscribe-Post: no"),
        (b"To: bob@", b"To: eve@"),
        (b"Subject: ", b"From: eve@example.org\r\nSubject: "),
        (b"Subject: ", b"List-Unsubscribe: <https://evil.example>\r\nSubject: "),
    ],
)
def test_what_is_changed_or_added_on_the_way_is_found_out(old, new):
    signed = Signer([signing(pem(RSA))]).sign(message())
    assert old in signed
    assert not verified_or_error(signed.replace(old, new, 1))


def verified_or_error(octets):
    try:
        return verified(octets)
    except dkim.DKIMException:
        return False


@pytest.mark.parametrize("change", [lambda o: o + b"\r\n\r\n", lambda o: o.replace(b"To: bob", b"to:   bob", 1)])
def test_what_relays_do_to_mail_does_not_matter(change):
    assert verified(change(Signer([signing(pem(RSA))]).sign(message())))


def test_several_keys_sign_each_for_itself():
    signed = Signer([signing(pem(RSA)), signing(SEED, "ed")]).sign(message())
    assert [fields_of(signed, place)["s"] for place in (0, 1)] == ["mail", "ed"]
    assert verified(signed, 0)
    assert verified(signed, 1)


@pytest.mark.parametrize(
    "octets",
    [
        b"From: a@example.com\r\nTo: b@example.com\r\n\r\n",
        b"From: a@example.com\r\n\r\n\r\n\r\n",
        b"From: a@example.com\r\nReceived: one\r\nReceived: two\r\nTo: x\r\nSubject:\r\n\tfolded\r\n  twice \r\n\r\nbody  \r\n x\r\n\r\n",
        b"From: a@example.com\r\n\r\nno line end",
    ],
)
@pytest.mark.parametrize("key", [("mail", pem(RSA)), ("ed", SEED)], ids=["rsa", "ed25519"])
def test_whatever_the_message(octets, key):
    selector, text = key
    assert verified(Signer([signing(text, selector)]).sign(octets))


def test_lines_are_short_enough():
    signed = Signer([signing(pem(RSA))]).sign(message())
    own = signed[: signed.index(b"\r\nContent-Type")]
    assert max(map(len, own.split(b"\r\n")[:20])) <= 90
    assert b"\r\n\r\n" not in own


@pytest.mark.parametrize("octets", [b"To: b@example.com\r\n\r\nx", b"", b"no field at all\r\n\r\n"])
def test_what_is_no_message_is_refused(octets):
    with pytest.raises(ValueError, match="cannot be signed"):
        Signer([signing(SEED, "ed")]).sign(octets)


@pytest.mark.parametrize(
    "key",
    [
        "no key",
        "-----BEGIN PRIVATE KEY-----\nno\n-----END PRIVATE KEY-----",
        pem(RSA, password=b"secret"),
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(rsa.generate_private_key(65537, 1024)).replace("M", "N", 3),
        base64.b64encode(b"x" * 31).decode(),
        RSA.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode(),
    ],
    ids=["text", "no base64", "locked", "of another kind", "too short", "31 octets", "public"],
)
def test_a_key_that_is_none_is_told_and_not_shown(key):
    with pytest.raises(ImproperlyConfigured, match="no private key of RSA") as caught:
        Signer([signing(key)])
    assert key[30:60] not in str(caught.value) or len(key) < 30


def test_a_key_comes_from_a_file(tmp_path):
    path = tmp_path / "key.pem"
    path.write_text(pem(RSA))
    assert verified(Signer([Signing("example.com", "mail", key_file=str(path))]).sign(message()))
    path.unlink()
    with pytest.raises(ImproperlyConfigured, match=r"key\.pem.*cannot be read"):
        Signer([Signing("example.com", "mail", key_file=str(path))])


def test_without_cryptography_dkimpy_signs(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for key in (pem(RSA), pem(RSA, PKCS1)):
        assert verified(Signer([signing(key)]).sign(message()))
    with pytest.raises(ImproperlyConfigured, match="needs cryptography"):
        Signer([signing(SEED, "ed")])
    with pytest.raises(ImproperlyConfigured, match="no private key"):
        Signer([signing("-----BEGIN PRIVATE KEY-----\nno\n-----END PRIVATE KEY-----")])


def test_without_dkimpy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dkim", None)
    with pytest.raises(ImproperlyConfigured, match=r"mailqueue\[bulk\]"):
        Signer([signing(SEED, "ed")])


def test_no_repr_shows_a_key():
    signer = Signer([signing(SEED, "ed")])
    assert SEED not in repr(signer) + repr(signing(SEED))
    assert repr(signer) == "<Signer for ed._domainkey.example.com>"
