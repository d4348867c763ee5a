"""Masking: published examples of what must go, and what looks like it and must stay."""

from __future__ import annotations

import ast
import base64
import json
import string
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetune.data.cleaning.secrets import PLACEHOLDERS, literals, mask
from codetune.prompts.extract import parse

# Put together here, so that no scanner takes this file for a leak. The shapes are those that the providers publish.
BODY = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hI6kL9n"
UPPER = "Q3WE5RT7YU2IO4PA"


def jwt(payload: dict[str, str]) -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "HS256"}, payload))
    return ".".join([*parts, BODY])


KEYS = {
    "AWS": "AKIA" + UPPER,
    "AWS, temporary": "ASIA" + UPPER,
    "GitHub": "ghp_" + BODY[:36],
    "GitHub, fine-grained": "github_pat_" + (BODY * 3)[:82],
    "GitLab": "glpat-" + BODY[:20],
    "Slack": "xoxb-" + "123456789012-1234567890123-" + BODY[:24],
    "Slack webhook": "hooks.slack.com/services/" + "T0ABCDEFG/B0ABCDEFG/" + BODY[:24],
    "Google": "AIza" + BODY[:35],
    "OpenAI": "sk-" + BODY[:20] + "T3BlbkFJ" + BODY[20:40],
    "OpenAI, project": "sk-proj-" + (BODY + BODY)[:60],
    "Stripe": "sk_live_" + BODY[:24],
    "SendGrid": "SG." + BODY[:22] + "." + (BODY + BODY)[:43],
    "npm": "npm_" + BODY[:36],
    "Hugging Face": "hf_" + string.ascii_letters[:34],
    "PyPI": "pypi-AgE" + (BODY + BODY)[:60],
    "JSON web token": jwt({"sub": "42"}),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_keys_of_providers(key: str) -> None:
    assert mask(f'client = connect("{key}")  # now') == ('client = connect("<KEY>")  # now', ("key",))
    assert mask(f"{key}\n", ["email"])[0] == f"{key}\n"


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7" + "EXAMPLE",  # the example of Amazon's documents
        "aws_secret_access_key = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY'",
        "AKIA" + UPPER[:-1],  # one short
        "X" + "AKIA" + UPPER,
        "AKIA" + UPPER + "X",
        "ghp_" + BODY[:35],
        "sk_test_" + BODY[:24],
        "task-" + BODY,
        jwt({"sub": "1234567890", "name": "John Doe"}),  # jwt.io's
        "eyJhbGciOiJIUzI1NiJ9.eyJub3QgSlNPTg.sig",
        "if '-----BEGIN PRIVATE KEY-----' in text: pass",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "123e4567-e89b-12d3-a456-426614174000",
    ],
)
def test_what_looks_like_a_key_stays(text: str) -> None:
    assert mask(text) == (text, ())


@pytest.mark.parametrize(
    "before",
    ["password = ", "DB_PASSWORD: str = ", '"api_key": ', "{'client-secret': ", "token := ", "pwd=", "api-key => ", "e['SECRET_KEY']="],
)
def test_values_beside_a_word_for_secrets(before: str) -> None:
    assert mask(f"{before}'xK7#mQ2vR9tL4w'") == (f"{before}'<KEY>'", ("key",))


@pytest.mark.parametrize(
    "text",
    [
        "password = 'correct horse battery staple'",
        "password = 'hunter2'",  # short
        "password = 'changeme123abc456'",
        "password = '<your password here 1a2b3c>'",
        "password = getpass('a1b2c3d4e5f6')",
        "password = password1a2b3c",
        "token = 'utf8_general_ci_v2'",
        "token_type = 'oauth2-bearer-v1'",
        "secret = 'aaaa1aaaa1aaaa1aaaa'",  # too even
        "api_key = '123e4567-e89b-12d3-a456-426614174000'",
        "sort_key = 'xK7mQ2vR9tL4w'",  # a key of a dict
        "api_key = ${API_KEY_1a2b3c4d}",
        "password = 'https://x1y2z3.io/a1b2'",
    ],
)
def test_values_that_are_no_secrets_stay(text: str) -> None:
    assert mask(text) == (text, ())


def test_the_body_of_a_private_key_goes_and_its_quotes_stay() -> None:
    lines = [BODY + BODY[:24]] * 3
    head, tail = "-----BEGIN RSA " + "PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"
    assert mask("\n".join([head, *lines, tail])) == (f"{head}<KEY>{tail}", ("key",))
    quoted = "k = (" + "\n".join(json.dumps(line + "\n") for line in [head, *lines, tail]) + ")\n"
    masked, kinds = mask(quoted)
    assert kinds == ("key",)
    assert BODY not in masked
    assert ast.literal_eval(masked.partition("= ")[2].strip()) == f"{head}<KEY>{tail}\n"


def test_passwords_in_addresses() -> None:
    assert mask("postgres://admin:xK7mQ2vR9t@db.acme.io:5432/x") == ("postgres://admin:<KEY>@db.acme.io:5432/x", ("key",))
    for text in ("postgres://postgres:postgres@localhost/x", "http://{user}:{word}@db/x"):
        assert mask(text) == (text, ())


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("# Written by Jane Roe <jane.roe@acme.io>", "# Written by Jane Roe <<EMAIL>>"),
        ("mail a+b_c-d@mail.acme.co.uk.", "mail <EMAIL>."),
        (r'"To:\njane@acme.io"', r'"To:\n<EMAIL>"'),
        ("mailto:jane@acme.io, joe@acme.io", "mailto:<EMAIL>, <EMAIL>"),
    ],
)
def test_emails(text: str, masked: str) -> None:
    assert mask(text)[0] == masked


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com", "jane@mail.example.org", "a@b.test", "noreply@github.com", "git@github.com:acme/x.git", "you@yourdomain.com",
        "react@16.8.0", "python@2.7", "@app.route", "@functools.wraps\ndef f(): ...", "icon@2x.png", "x@y.T", "a@weights.dot(b)",
        "a@rows.items[0]", "%s@acme.io", "{name}@acme.io", "l*****e@acme.io", "@", "jane@", "jane@acme",
    ],
)  # fmt: skip
def test_what_looks_like_an_email_stays(text: str) -> None:
    assert mask(text) == (text, ())


@pytest.mark.parametrize("address", ["93.184.216.34", "2001:4860:4860:0:0:0:0:1234", "2606:2800:220:1::5"])
def test_public_addresses(address: str) -> None:
    assert mask(f"host = '{address}'") == ("host = '<IP_ADDRESS>'", ("ip_address",))


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.5.4", "0.0.0.0", "255.255.255.255", "224.0.0.251",  # of no single machine
        "192.0.2.17", "198.51.100.4", "203.0.113.9", "2001:db8::1",  # for documentation (RFC 5737, RFC 3849)
        "8.8.8.8", "208.67.222.222", "::1", "fe80::1", "fd00::1",
        "1.2.3.4", "version = '12.34.56.78'", "Version 93.184.216.34", "Chrome/93.184.216.34", "93.184.216.34-beta", "pkg-93.184.216.34",
        "93.184.216.34.5", "1.93.184.216.34", "93.184.216.0/24", "300.1.2.3", "1934.18.21.34", "v93.184.216.34", "93.184.216",
        "x[2000::2]", "12:34:56:78", "2023:10:11", "std::vector", "a[1::2]", "00:1a:2b:3c:4d:5e",
    ],
)  # fmt: skip
def test_what_is_no_public_address_stays(text: str) -> None:
    assert mask(text) == (text, ())


def test_four_digits_are_an_address_beside_the_word_server() -> None:
    """BigCode's rule: elsewhere they are a version."""
    assert mask("the server 4.2.2.1 answers")[0] == "the server <IP_ADDRESS> answers"
    assert mask("release 4.2.2.1 is out")[1] == ()


def test_kinds_known_values_and_spans() -> None:
    text = "jane@acme.io 93.184.216.34 " + KEYS["AWS"] + " joe@acme.io"
    assert mask(text) == ("<EMAIL> <IP_ADDRESS> <KEY> <EMAIL>", ("email", "ip_address", "key", "email"))
    assert mask(text, ["ip_address"]) == (text.replace("93.184.216.34", "<IP_ADDRESS>"), ("ip_address",))
    assert mask(text, known="assert check('joe@acme.io')")[0] == "<EMAIL> <IP_ADDRESS> <KEY> joe@acme.io"
    assert mask(text, within=[(0, 12), (20, 40)]) == (text.replace("jane@acme.io", "<EMAIL>"), ("email",))


def test_strings_and_comments_of_code() -> None:
    code = 'x = "é"  # one\ny = """two\nlines""" + z\n'
    assert [code[start:end] for start, end in literals(code)] == ['"é"', "# one", '"""two\nlines"""']
    assert literals("x = (") == []


ODDMENTS = st.sampled_from(
    [*KEYS.values(), "jane@acme.io", "93.184.216.34", "2606:2800:220:1::5", "password = '", "xK7mQ2vR9tL4w", "'", "://u:", "@", ".", "::"]
)


@settings(max_examples=300)
@given(st.lists(st.one_of(ODDMENTS, st.text(max_size=6), st.sampled_from(" \n\"<>-_/123")), max_size=12).map("".join))
def test_masking_twice_changes_nothing_more(text: str) -> None:
    masked, kinds = mask(text)
    assert (masked != text) == bool(kinds)
    assert sum(masked.count(each) - text.count(each) for each in PLACEHOLDERS.values()) >= 0
    again, more = mask(masked)
    assert (again, more) == (masked, ())


@given(st.text(alphabet=st.characters(exclude_characters="@", exclude_categories=("Nd", "Nl", "No", "Cs")), max_size=300))
def test_text_without_at_signs_and_digits_is_left_alone(text: str) -> None:
    assert mask(text) == (text, ())


def test_python_stays_python() -> None:
    """Files of the standard library, as they are and with an address in every comment."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    changed = 0
    for path in sorted([*folder.glob("email/*.py"), *folder.glob("[a-d]*.py"), *folder.glob("json/*.py")]):
        text = path.read_text(encoding="utf-8")
        for given_text in (text, text.replace("# ", "# jane@acme.io, 93.184.216.34: ")):
            masked, kinds = mask(given_text)
            changed += bool(kinds)
            assert parse(masked) is not None, path
    assert changed > 20
