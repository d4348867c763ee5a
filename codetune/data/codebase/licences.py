"""Which licence code is under, as an SPDX identifier: of packages and projects by their metadata, else by the text of their licence.

Nothing is guessed: what names no licence for certain ("BSD", without its clauses) stays as it is stated, and several licences that
nobody joined are joined with AND, the stricter reading. Identifiers: https://spdx.org/licenses/.
"""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections.abc import Callable, Collection, Iterable
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

_TEXTS = re.compile(r"(un)?licen[cs]e|copying", re.IGNORECASE)
_TEXT_SUFFIXES = {"", ".txt", ".md", ".rst"}
_MAX_TEXT_BYTES = 1_000_000
_MAX_PREAMBLE = 5_000  # characters of a text in which its own licence stands; what is bundled comes later
_MAX_SPAN = 2_500  # characters in which a short licence has all its telltale words
_MAX_STATED = 60  # characters; some projects state their whole licence
_HEAD_LINES = 30  # of a file, in which it may state its own licence
_IDENTIFIER = re.compile(r"SPDX-License-Identifier:[ \t]*([\w.+() -]*[\w.+)])")
_EXPRESSION = re.compile(r"[\s()]+")
_ID = re.compile(r"[A-Za-z][A-Za-z0-9.]*(-[A-Za-z0-9.]+)*-\d+(\.\d+)*(-[A-Za-z0-9-]+)?\+?")

# The words of a name, in alphabetical order; "license", "version" and the like are left out.
_NAMES = {
    "mit": "MIT", "expat": "MIT", "expat mit": "MIT", "mit x11": "MIT",
    "apache": "Apache-2.0", "2 apache": "Apache-2.0", "2.0 apache": "Apache-2.0", "asl 2.0": "Apache-2.0",
    "3 bsd clause": "BSD-3-Clause", "3 bsd": "BSD-3-Clause", "bsd new": "BSD-3-Clause", "bsd modified": "BSD-3-Clause",
    "3 bsd clause new or revised": "BSD-3-Clause", "2 bsd clause": "BSD-2-Clause", "bsd simplified": "BSD-2-Clause",
    "isc": "ISC", "isc iscl": "ISC", "0bsd": "0BSD", "unlicense": "Unlicense", "zlib": "Zlib",
    "2.0 mozilla mpl public": "MPL-2.0", "2.0 mpl": "MPL-2.0", "2.0 mozilla public": "MPL-2.0",
    "foundation python": "PSF-2.0", "psf": "PSF-2.0", "psfl": "PSF-2.0", "1.0 boost bsl": "BSL-1.0", "1.0 boost": "BSL-1.0",
}  # fmt: skip
_FILLERS = {"the", "license", "licence", "licensed", "licenses", "version", "v", "software", "osi", "approved"}

# Each identifier and the words that its text has, white space and case aside; of those that begin alike the first that fits.
_PHRASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("PSF-2.0", ("a. history of the software", "python")),
    ("PSF-2.0", ("python software foundation license version 2",)),
    ("HPND", ("this software and its documentation for any purpose and without fee is hereby granted",)),
    ("Apache-2.0", ("apache license", "version 2.0")),
    ("MPL-2.0", ("mozilla public license", "2.0")),
    ("BSL-1.0", ("boost software license - version 1.0",)),
    ("Unlicense", ("this is free and unencumbered software released into the public domain",)),
    ("MIT", ("permission is hereby granted, free of charge, to any person obtaining a copy", "permission notice shall be included")),
    ("MIT-0", ("permission is hereby granted, free of charge, to any person obtaining a copy", "without restriction")),
    ("BSD-4-Clause", ("redistribution and use in source and binary forms", "all advertising materials mentioning features")),
    ("BSD-3-Clause", ("redistribution and use in source and binary forms", "endorse or promote products")),
    ("BSD-2-Clause", ("redistribution and use in source and binary forms",)),
    ("ISC", ("with or without fee is hereby granted, provided that the above copyright notice",)),
    ("0BSD", ("with or without fee is hereby granted",)),
)
_GNU = re.compile(r"gnu (affero |lesser |library )?general public license,? v(?:ersion )?(\d(?:\.\d)?)")
_GNU_NOTICE = re.compile(
    r"gnu (affero |lesser |library )?general public license as published by the free software foundation[,;:]? (?:either )?"
    r"version (\d(?:\.\d)?)(?: of the license)?(,? or \(?at your option)?"
)


def metadata_licence(metadata: Any) -> str:
    """What a package's metadata says, the SPDX expression first; the free text only its first line (some hold the whole licence)."""
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [line.split("::")[-1].strip() for line in metadata.get_all("Classifier") or () if line.startswith("License ::")]
    stated = (metadata.get("License") or "").strip().splitlines()
    return "; ".join(classifiers) or (stated[0] if stated else "")


def distribution_licence(info: Path) -> str:
    """Of an installed package, by its `*.dist-info` folder."""
    metadata: Any = PathDistribution(info).metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    texts = sorted(path for folder in (info, info / "licenses") if folder.is_dir() for path in folder.iterdir() if _is_text(path.name))
    return _settled([str(metadata.get("License") or ""), metadata_licence(metadata)], texts)


def folder_licence(folder: Path, names: Collection[str]) -> str:
    """Of a project, by the files of these names in its folder: its metadata, else its licence's text; "" where neither says it."""
    stated = []
    for name, read in _MANIFESTS.items():
        if name in names:
            try:
                stated += [one for one in read((folder / name).read_text(encoding="utf-8-sig")) if isinstance(one, str)]
            except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError, configparser.Error):
                continue  # a broken manifest says nothing; that is no reason to stop at it
    return _settled(stated, [folder / name for name in sorted(names) if _is_text(name)])


def file_licence(text: str) -> str:
    """What a file states of itself: its `SPDX-License-Identifier`, or ""."""
    if "SPDX-License-Identifier" not in text:
        return ""
    found = _IDENTIFIER.search("\n".join(text.split("\n", _HEAD_LINES)[:_HEAD_LINES]))
    return spdx(found[1]) or found[1][:_MAX_STATED] if found else ""


def spdx(stated: str) -> str:
    """The SPDX identifier or expression that a name stands for; "" where it names no licence for certain.

    >>> spdx("Apache License, Version 2.0"), spdx("MIT/Apache-2.0"), spdx("GNU General Public License v3 or later (GPLv3+)"), spdx("BSD")
    ('Apache-2.0', 'MIT OR Apache-2.0', 'GPL-3.0-or-later', '')
    """
    stated = stated.strip()[:200]
    joined = " AND " if ";" in stated else " OR " if "/" in stated else ""
    if joined and (parts := [spdx(part) for part in re.split("[;/]", stated)]) and all(parts):
        return joined.join(dict.fromkeys(parts))
    words = [word for word in re.findall(r"[a-z0-9.]+\+?", stated.lower()) if word not in _FILLERS]
    if name := _NAMES.get(" ".join(sorted(set(words)))):
        return name
    terms = [term for term in _EXPRESSION.split(stated) if term and term not in ("AND", "OR", "WITH")]
    if terms and all(_is_id(term) for term in terms) and (len(terms) == 1 or re.search(r"\b(AND|OR|WITH)\b", stated)):
        return stated
    return _gnu_name(stated.lower())


def licence_of_text(text: str) -> str:
    """The SPDX identifier of a licence's text, or of the notice that refers to it; "" for one that is not known.

    Where a text goes on with the licences of what is bundled, the first that is known counts.
    """
    text = " ".join(text[:_MAX_PREAMBLE].lower().replace("*", " ").replace("//", " ").replace("#", " ").split())
    found = []
    for name, (first, *others) in _PHRASES:
        at = text.find(first)
        if at >= 0 and all(phrase in text[at : at + _MAX_SPAN] for phrase in others):
            found.append((at, name))
    if notice := _GNU_NOTICE.search(text):
        found.append((notice.start(), _gnu_id(notice[1], notice[2]) + ("-or-later" if notice[3] else "-only")))
    if title := _GNU.search(text):
        found.append((title.start(), _gnu_id(title[1], title[2])))
    return min(found, key=lambda one: one[0], default=(0, ""))[1]


def is_allowed(licence: str, allowed: Iterable[str]) -> bool:
    """Whether a licence is met by those allowed: of "A OR B" one of them, of "A AND B" both.

    Exceptions (WITH) only widen a licence; GPL-3.0 allows GPL-3.0-only and -or-later; case and blanks do not count ("CC BY 4.0").
    """
    names = {_spelt(name) for name in allowed}
    plain = re.sub(r"\s+WITH\s+[\w.-]+", "", licence, flags=re.IGNORECASE)

    def one(term: str) -> bool:
        term = _spelt(term.strip(" ()"))
        return term in names or re.sub(r"(-only|-or-later|\+)$", "", term) in names

    # OR binds weaker than AND. Parentheses are rare and read as if they were not there, with every alternative then required.
    if "(" in plain:
        return all(one(term) for term in re.split(r"\b(?:AND|OR)\b", plain, flags=re.IGNORECASE))
    ways = (re.split(r"\s+AND\s+", way, flags=re.IGNORECASE) for way in re.split(r"\s+OR\s+", plain, flags=re.IGNORECASE))
    return any(all(map(one, way)) for way in ways)


def _spelt(licence: str) -> str:
    return "-".join(licence.casefold().split())


def _settled(stated: Iterable[str], texts: Iterable[Path]) -> str:
    """The first statement that names a licence for certain, else what the texts are, else the statement as it is."""
    stated = [one.strip() for one in stated if one.strip()]
    for one in stated:
        if name := spdx(one):
            return name
    found = dict.fromkeys(name for path in texts if (name := licence_of_text(_text_of(path))))
    if any(name.startswith("LGPL") for name in found):  # its text refers to the GPL's, which then lies beside it
        found = {name: None for name in found if not name.startswith("GPL")}
    return " AND ".join(found) or (" ".join(stated[0].split())[:_MAX_STATED] if stated else "")


def _is_text(name: str) -> bool:
    return bool(_TEXTS.match(name)) and (Path(name).suffix.lower() in _TEXT_SUFFIXES or Path(name).suffix[1:].isupper())


def _text_of(path: Path) -> str:
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_TEXT_BYTES:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _is_id(term: str) -> bool:
    return term in _NAMES.values() or _ID.fullmatch(term) is not None


def _gnu_name(name: str) -> str:
    """Of classifiers and the like: "GNU Lesser General Public License v3 (LGPLv3)"."""
    if not re.search(r"gpl|gnu .*public", name) or re.search(r"\b(mit|bsd|apache|mozilla|mpl|artistic)\b", name):
        return ""
    version = re.search(r"\d(\.\d)?", name)
    kind = "affero " if re.search("affero|agpl", name) else "lesser " if re.search("lesser|library|lgpl", name) else None
    later = "-or-later" if re.search(r"or later|\+|or newer|>=", name) else "-only"
    return _gnu_id(kind, version[0]) + later if version else ""


def _gnu_id(kind: str | None, version: str) -> str:
    name = {"affero ": "AGPL", "lesser ": "LGPL", "library ": "LGPL", None: "GPL"}[kind]
    return f"{name}-{version if '.' in version else version + '.0'}"


def _of_pyproject(text: str) -> list[Any]:
    read = tomllib.loads(text)
    project, poetry = read.get("project", {}), read.get("tool", {}).get("poetry", {})
    stated = project.get("license", poetry.get("license"))
    if isinstance(stated, dict):  # {text = "..."} or {file = "LICENSE"}, whose text is read anyway
        stated = stated.get("text", "").strip().partition("\n")[0]
    classifiers = [*project.get("classifiers", ()), *poetry.get("classifiers", ())]
    return [stated, _classified(classifiers)]


def _of_setup_cfg(text: str) -> list[Any]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(text)
    read = parser["metadata"]
    return [read.get("license", "").partition("\n")[0], _classified(read.get("classifiers", "").splitlines())]


def _of_package_json(text: str) -> list[Any]:
    read = json.loads(text)
    stated = read.get("license", read.get("licenses"))
    several = stated if isinstance(stated, list) else [stated]
    names = [str(one.get("type", "")) if isinstance(one, dict) else str(one or "") for one in several]
    return [] if any(name.upper().startswith("SEE LICENSE IN") for name in names) else [" OR ".join(filter(None, names))]


def _of_cargo(text: str) -> list[Any]:
    return [tomllib.loads(text)["package"].get("license")]


def _classified(classifiers: Iterable[str]) -> str:
    return "; ".join(line.split("::")[-1].strip() for line in classifiers if line.strip().startswith("License ::"))


_MANIFESTS: dict[str, Callable[[str], list[Any]]] = {
    "pyproject.toml": _of_pyproject, "setup.cfg": _of_setup_cfg, "package.json": _of_package_json, "Cargo.toml": _of_cargo,
}  # fmt: skip
