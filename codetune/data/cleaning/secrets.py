"""Masks what must not be learned: e-mail addresses, public IP addresses, and keys, tokens and passwords.

The placeholders are BigCode's (StarCoder, Li et al. 2023, section 4; github.com/bigcode-project/bigcode-dataset, pii/), the patterns of
keys those of detect-secrets (github.com/Yelp/detect-secrets, plugins/) and of the providers. What is known to be an example stays:
RFC 2606 domains, noreply@, private and documentation addresses, public name servers, versions, keys that say EXAMPLE.
"""

from __future__ import annotations

import base64
import io
import ipaddress
import json
import math
import re
import tokenize
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence

PLACEHOLDERS = {"email": "<EMAIL>", "ip_address": "<IP_ADDRESS>", "key": "<KEY>"}

Span = tuple[int, int]
Find = tuple[int, int, str]  # start, end, kind

# A key starts with a mark of its provider, and a text without any mark is not searched. Patterns that start with a letter that is rare in
# code, or with two, are as quick as a search for a string.
_MARKS = ("_pat_", "xox", "slack.com/services", "T3BlbkFJ", "k_live_", "SG.", "npm_", "hf_", "eyJ", "PRIVATE KEY")
_MARK_PATTERNS = [re.compile(mark) for mark in (r"A(?:KIA|SIA|3T|Iza|gE)", r"gh[pousr]_", r"gl(?:pat|rt|dt|cbt)-", r"sk-(?:proj|ant)-")]
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|A3T[A-Z0-9])[0-9A-Z]{16}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9_]{36,255}|github_pat_[A-Za-z0-9_]{82}"  # GitHub
    r"|(?:glpat|glrt|gldt|glcbt)-[A-Za-z0-9_-]{20,50}"  # GitLab
    r"|xox[abposr]-(?:\d{1,20}-){1,5}[A-Za-z0-9]+|hooks\.slack\.com/services/T\w{1,40}/B\w{1,40}/\w+"  # Slack
    r"|AIza[0-9A-Za-z_-]{35}"  # Google
    r"|sk-[A-Za-z0-9_-]{0,200}[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20,}|sk-(?:proj|ant)-[A-Za-z0-9_-]{40,}"  # OpenAI, Anthropic
    r"|[rs]k_live_[0-9a-zA-Z]{24,}"  # Stripe
    r"|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"  # SendGrid
    r"|npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{50,}|hf_[A-Za-z]{34}"
    r")(?![A-Za-z0-9])"
)
_JWT = re.compile(r"(?<![A-Za-z0-9_-])(eyJ[A-Za-z0-9_-]{8,})\.(eyJ[A-Za-z0-9_-]{8,})(?:\.[A-Za-z0-9_-]+)?")
_PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(.{64,16384}?)-----END ", re.DOTALL)
_SECRET_WORDS = ("passw", "pwd", "secret", "token", "key")
_KEY_OWNERS = ("api", "access", "auth", "private", "client", "account", "service", "app", "encryption", "secret")  # other keys are of dicts
_VALUE = re.compile(
    r"[\w-]{0,30}['\"\]]{0,2}\s{0,4}(?::\s?\w{1,20}\s?=|:=|=>|={1,2}|:)\s{0,4}[rbuRBU]?(['\"])([^\s'\"<>{}()\\]{8,200})\1"
)
_NO_SECRET = re.compile(
    r"example|change|placeholder|your|dummy|test|secret|passw|token|fake|redact|insert|sample|default|foo|x{4}|\*{3}|1234|abcd|%s|://|\.\.\."
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",  # identifiers (UUIDs) are no secrets
    re.IGNORECASE,
)
_LETTER_BESIDE_DIGIT = re.compile(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")
_MIN_ENTROPY_BITS = 3.0  # per character; detect-secrets' limit for hexadecimal text
_MIN_TURNS = 3  # between letters and digits: words with a number, as "oauth2-v1", have fewer

_LOCAL_BACKWARDS = re.compile(r"[\w.+-]*", re.ASCII)
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+([A-Za-z]{2,24})(?![\w(\[-]|\.\w)")
_EXAMPLE_DOMAIN = re.compile(
    r"(?:^|\.)(?:example\.(?:com|org|net|edu)|(?:your|my|some)?domain\.com|example|test|invalid|localhost|local)$", re.IGNORECASE
)
_NOBODY = {"noreply", "no-reply", "donotreply", "do-not-reply", "git", "hg", "svn"}
_FILE_SUFFIXES = {"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "json", "py", "html", "xml", "txt", "md", "yml", "yaml"}
_URL_LOGIN = re.compile(r"://[^\s/@'\"]*$")
_URL_PASSWORD = re.compile(r"://[^\s:/@'\"]*:([^\s:/@'\"<>{}$]{6,})$")

_DOTTED = re.compile(r"\.\d{1,3}\.\d{1,3}\.\d{1,3}(?!\w|\.\w|/\d|-\w)", re.ASCII)  # 1.2.3.0/24 is a network
_FIRST_OCTET = re.compile(r"(?<![\w.])(?<![\w.-]/)(?<!\w-)\d{1,3}$", re.ASCII)
_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:]|/\d)")  # 2000::/3 is all that was handed out
_NAME_SERVERS = frozenset(  # BigCode's list: what everybody may know
    ["8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "76.76.19.19", "76.223.122.150", "9.9.9.9", "149.112.112.112", "208.67.222.222",
     "208.67.220.220", "8.26.56.26", "8.20.247.20", "94.140.14.14", "94.140.15.15"]
)  # fmt: skip


def mask(
    text: str, kinds: Iterable[str] = tuple(PLACEHOLDERS), known: Container[str] = (), within: Sequence[Span] | None = None
) -> tuple[str, tuple[str, ...]]:
    """The text with placeholders, and the kind of each thing masked.

    What also occurs in `known` stays: it belongs to the problem, as the addresses do in tests of a function that checks addresses.
    With `within` only what lies in these spans is masked.

    >>> mask("mail jane.roe@acme.io from 93.184.216.34")
    ('mail <EMAIL> from <IP_ADDRESS>', ('email', 'ip_address'))
    """
    masked: tuple[str, ...] = ()
    while text and (chosen := _apart([find for kind in kinds for find in _FINDERS[kind](text) if text[find[0] : find[1]] not in known])):
        if within is not None:
            chosen = [find for find in chosen if any(start <= find[0] and find[1] <= end for start, end in within)]
        parts, at = [], 0
        for start, end, kind in chosen:
            parts += [text[at:start], PLACEHOLDERS[kind]]
            at = end
        text, masked = "".join([*parts, text[at:]]), (*masked, *(kind for _, _, kind in chosen))
        if within is not None:  # the spans are those of the text before
            break
    return text, masked  # nothing is left that a placeholder could have uncovered


def literals(code: str) -> list[Span]:
    """Where the strings and comments of Python code are; as far as it can be read."""
    starts = [0]
    for line in code.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if tokenize.tok_name[token.type] in ("STRING", "COMMENT", "FSTRING_MIDDLE"):
                (row, column), (last_row, last_column) = token.start, token.end
                found.append((starts[row - 1] + column, starts[last_row - 1] + last_column))
    except (tokenize.TokenError, SyntaxError):  # IndentationError is one
        pass
    return found


def _apart(finds: list[Find]) -> list[Find]:
    """In order and without overlaps; of two that overlap the earlier, then the longer one."""
    chosen: list[Find] = []
    for find in sorted(finds, key=lambda find: (find[0], -find[1], find[2])):
        if not chosen or find[0] >= chosen[-1][1]:
            chosen.append(find)
    return chosen


def _keys(text: str) -> Iterator[Find]:
    if _has_mark(text):
        for found in _KEY.finditer(text):
            if "EXAMPLE" not in found[0].upper():
                yield (*found.span(), "key")
        for found in _JWT.finditer(text) if "eyJ" in text else ():
            if _is_jwt(found):
                yield (*found.span(), "key")
        for found in _PRIVATE_KEY.finditer(text) if "PRIVATE KEY" in text else ():
            yield (*found.span(1), "key")
    for start, end in _assigned(text):
        if _looks_random(text[start:end]):
            yield start, end, "key"
    for at in _places(text, "@"):
        password = _URL_PASSWORD.search(text, max(0, at - 200), at)
        if password and _looks_random(password[1]):
            yield (*password.span(1), "key")


def _has_mark(text: str) -> bool:
    for mark in _MARKS:  # loops, for any() takes half as long again
        if mark in text:
            return True
    for pattern in _MARK_PATTERNS:  # noqa: SIM110
        if pattern.search(text):
            return True
    return False


def _assigned(text: str) -> Iterator[Span]:
    """The quoted values beside a name such as `db_password` or `API-KEY`."""
    lowered = text.lower()
    if len(lowered) != len(text):  # a letter or two take more room in lower case
        lowered = text
    for word in _SECRET_WORDS:
        for at in _places(lowered, word) if word in lowered else ():
            if word != "key" or lowered[max(0, at - 12) : at].rstrip("_-").endswith(_KEY_OWNERS):
                found = _VALUE.match(text, at + len(word))
                if found:
                    yield found.span(2)


def _looks_random(value: str) -> bool:
    """Whether a quoted value beside a word like `password` is one, not a name, a message or an example."""
    if _NO_SECRET.search(value) or len(_LETTER_BESIDE_DIGIT.findall(value)) < _MIN_TURNS:
        return False
    counts = Counter(value).values()
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts) >= _MIN_ENTROPY_BITS


def _is_jwt(found: re.Match[str]) -> bool:
    """Head and payload are JSON objects; the example that jwt.io shows is known to everybody."""
    try:
        head, payload = (json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in found.groups())
    except ValueError:
        return False
    return isinstance(head, dict) and isinstance(payload, dict) and payload.get("name") != "John Doe"


def _emails(text: str) -> Iterator[Find]:
    for at in _places(text, "@"):
        domain = _DOMAIN.match(text, at + 1)
        if not domain or domain[1].lower() in _FILE_SUFFIXES or _EXAMPLE_DOMAIN.search(domain[0]):
            continue
        if _URL_LOGIN.search(text, max(0, at - 200), at):  # user:password@host
            continue
        backwards = _LOCAL_BACKWARDS.match(text[max(0, at - 64) : at][::-1])
        start = at - (backwards.end() if backwards else 0)
        if text[start - 1 : start] == "\\" and start < at:
            start += 1  # the n of \n is none of the address
        while start < at and not text[start].isalnum():
            start += 1
        # After these comes what is filled in: %s@..., {name}@..., $user@..., l*****e@...
        if start < at and text[start - 1 : start] not in ("%", "}", ")", "$", "*") and text[start:at].lower() not in _NOBODY:
            yield start, domain.end(), "email"


def _ip_addresses(text: str) -> Iterator[Find]:
    for found in _DOTTED.finditer(text):
        first = _FIRST_OCTET.search(text, max(0, found.start() - 3), found.start())
        if first and _is_public(text, first.start(), found.end()):
            yield first.start(), found.end(), "ip_address"
    for colons in _COLONS.finditer(text):
        address = _IPV6.match(text, max(0, colons.start() - 4))
        if address and len(re.findall(r"\w+", address[0])) > 2 and _is_global(address[0]):  # 2000::2 may be a slice
            yield (*address.span(), "ip_address")


def _is_public(text: str, start: int, end: int) -> bool:
    """Neither private nor a name server's nor a version: four digits far from "dns" and "server" (BigCode), or after "version"."""
    address = text[start:end]
    line = text[text.rfind("\n", 0, start) + 1 : start].lower()
    around = text[max(0, start - 100) : end + 100].lower()
    version = "version" in line or "section" in line or (len(address) == 7 and "dns" not in around and "server" not in around)
    return not version and address not in _NAME_SERVERS and _is_global(address)


def _is_global(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return found.is_global and not found.is_multicast


def _places(text: str, character: str) -> Iterator[int]:
    at = text.find(character)
    while at >= 0:
        yield at
        at = text.find(character, at + 1)


_FINDERS = {"email": _emails, "ip_address": _ip_addresses, "key": _keys}
