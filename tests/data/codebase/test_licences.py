"""Licences: by metadata, by text, of a file's own; and which are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetune.data.codebase.code import code_chunks, read_code_chunk
from codetune.data.codebase.licences import file_licence, folder_licence, is_allowed, licence_of_text, spdx
from codetune.data_recipe import SourceConfig
from codetune.records import Document

MIT_TEXT = """MIT License

Copyright (c) 2024 A

Permission is hereby granted, free of charge, to any person obtaining a copy of this software ... without restriction ...
The above copyright notice and this permission notice shall be included in all copies.
"""
BSD_TEXT = "Redistribution and use in source and binary\nforms, with or without modification, are permitted ..."
GPL3_TEXT = "GNU GENERAL PUBLIC LICENSE\n  Version 3, 29 June 2007\nEveryone is permitted ...\n with the GNU Affero General Public License."


@pytest.mark.parametrize(
    ("stated", "licence"),
    [
        ("MIT", "MIT"),
        ("MIT License", "MIT"),
        ("The MIT License (MIT)", "MIT"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("Apache Software License", "Apache-2.0"),
        ("BSD 3-Clause License", "BSD-3-Clause"),
        ("3-Clause BSD License", "BSD-3-Clause"),
        ('BSD 3-Clause "New" or "Revised" License', "BSD-3-Clause"),
        ("BSD", ""),
        ("BSD License", ""),
        ("Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
        ("ISC License (ISCL)", "ISC"),
        ("Python Software Foundation License", "PSF-2.0"),
        ("The Unlicense (Unlicense)", "Unlicense"),
        ("UNLICENSED", ""),  # npm's word for proprietary
        ("GNU General Public License v2 (GPLv2)", "GPL-2.0-only"),
        ("GNU General Public License v3 or later (GPLv3+)", "GPL-3.0-or-later"),
        ("GNU Lesser General Public License v2.1", "LGPL-2.1-only"),
        ("GNU Affero General Public License v3", "AGPL-3.0-only"),
        ("GNU General Public License (GPL)", ""),
        ("MIT or GPL v2", ""),
        ("GPL-2.0-or-later WITH Classpath-exception-2.0", "GPL-2.0-or-later WITH Classpath-exception-2.0"),
        ("MIT/Apache-2.0", "MIT OR Apache-2.0"),
        ("MIT License; Apache Software License", "MIT AND Apache-2.0"),
        ("EUPL-1.2", "EUPL-1.2"),
        ("see the file", ""),
        ("", ""),
    ],
)
def test_names(stated: str, licence: str) -> None:
    assert spdx(stated) == licence


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (MIT_TEXT, "MIT"),
        (MIT_TEXT.partition("The above")[0], "MIT-0"),
        ("                Apache License\n           Version 2.0, January 2004\n", "Apache-2.0"),
        (BSD_TEXT, "BSD-2-Clause"),
        (BSD_TEXT + "may not be used to endorse or promote products", "BSD-3-Clause"),
        (GPL3_TEXT, "GPL-3.0"),
        ("GNU AFFERO GENERAL PUBLIC LICENSE Version 3, 19 November 2007\nEveryone is permitted", "AGPL-3.0"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\nVersion 2.1, February 1999\nEveryone is permitted", "LGPL-2.1"),
        ("the GNU General Public License as published by\n# the Free Software Foundation, either version 3 of the License, or\n"
         "# (at your option) any later version.", "GPL-3.0-or-later"),
        ("GNU General Public License as published by the Free Software Foundation; version 2.", "GPL-2.0-only"),
        ("Mozilla Public License Version 2.0\n====", "MPL-2.0"),
        ("Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted, "
         "provided that the above\ncopyright notice and", "ISC"),
        ("This is free and unencumbered software released into the public domain.", "Unlicense"),
        ("A. HISTORY OF THE SOFTWARE ... PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2 ... GPL-compatible", "PSF-2.0"),
        (BSD_TEXT + " ...\nThis distribution bundles gfortran:\n" + GPL3_TEXT + MIT_TEXT, "BSD-2-Clause"),
        ("All rights reserved.", ""),
    ],
)  # fmt: skip
def test_texts(text: str, licence: str) -> None:
    assert licence_of_text(text) == licence


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"pyproject.toml": '[project]\nlicense = "MIT OR Apache-2.0"'}, "MIT OR Apache-2.0"),
        ({"pyproject.toml": '[project]\nlicense = {text = "MIT License"}'}, "MIT"),
        ({"pyproject.toml": '[project]\nlicense = {file = "LICENSE"}', "LICENSE": MIT_TEXT}, "MIT"),
        ({"pyproject.toml": '[project]\nclassifiers = ["License :: OSI Approved :: MIT License"]'}, "MIT"),
        ({"pyproject.toml": '[tool.poetry]\nlicense = "ISC"'}, "ISC"),
        ({"pyproject.toml": '[project]\nlicense = "BSD"', "LICENSE.txt": BSD_TEXT}, "BSD-2-Clause"),
        ({"pyproject.toml": '[project]\nlicense = "BSD"'}, "BSD"),
        ({"pyproject.toml": "[project", "LICENSE": MIT_TEXT}, "MIT"),
        ({"pyproject.toml": "project = 1", "LICENSE": MIT_TEXT}, "MIT"),
        ({"setup.cfg": "[metadata]\nlicense = Apache 2.0\n"}, "Apache-2.0"),
        ({"setup.cfg": "[metadata]\nclassifiers =\n    License :: OSI Approved :: ISC License (ISCL)\n"}, "ISC"),
        ({"package.json": '{"license": "MIT"}'}, "MIT"),
        ({"package.json": '{"licenses": [{"type": "MIT"}, {"type": "ISC"}]}'}, "MIT OR ISC"),
        ({"package.json": '{"license": "UNLICENSED"}'}, "UNLICENSED"),
        ({"package.json": '{"license": "SEE LICENSE IN x"}', "LICENCE.md": MIT_TEXT}, "MIT"),
        ({"package.json": "[1]", "COPYING": GPL3_TEXT}, "GPL-3.0"),
        ({"Cargo.toml": '[package]\nlicense = "MIT/Apache-2.0"'}, "MIT OR Apache-2.0"),
        ({"LICENSE-MIT": MIT_TEXT, "LICENSE-APACHE": "Apache License Version 2.0"}, "Apache-2.0 AND MIT"),
        ({"COPYING": GPL3_TEXT, "COPYING.LESSER": "GNU LESSER GENERAL PUBLIC LICENSE Version 3\nEveryone is permitted"}, "LGPL-3.0"),
        ({"LICENSE": "ask us"}, ""),
        ({"licenses.py": MIT_TEXT}, ""),
    ],
)
def test_projects(tmp_path: Path, files: dict[str, str], licence: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert folder_licence(tmp_path, files) == licence


def test_a_files_own_statement() -> None:
    assert file_licence("#!/bin/sh\n# SPDX-License-Identifier: GPL-2.0-only\n") == "GPL-2.0-only"
    assert file_licence("/* SPDX-License-Identifier: (MIT OR Apache-2.0) */") == "(MIT OR Apache-2.0)"
    assert file_licence("<!-- SPDX-License-Identifier: MIT -->") == "MIT"
    assert file_licence("\n" * 50 + "# SPDX-License-Identifier: MIT") == ""
    assert file_licence("x = 1\n") == ""


def test_which_are_asked_for() -> None:
    assert is_allowed("MIT", ("mit",))
    assert is_allowed("GPL-3.0 OR MIT", ("MIT",))
    assert not is_allowed("GPL-3.0 AND MIT", ("MIT",))
    assert is_allowed("GPL-3.0-or-later", ("GPL-3.0",))
    assert not is_allowed("GPL-3.0", ("GPL-3.0-or-later",))
    assert not is_allowed("(MIT OR ISC) AND GPL-3.0", ("MIT", "ISC"))
    assert is_allowed("(MIT OR ISC) AND Zlib", ("MIT", "ISC", "Zlib"))
    assert not is_allowed("", ("MIT",))


def test_the_nearest_licence_counts_and_others_are_left_out(tmp_path: Path) -> None:
    """A folder's own over the project's, a file's own over both."""
    files = {
        "LICENSE": MIT_TEXT, "a.py": "", "b.py": "# SPDX-License-Identifier: ISC\n", "sub/LICENSE": GPL3_TEXT, "sub/c.py": "",
        "sub/d.py": "# SPDX-License-Identifier: MIT\n", "sub/deep/e.py": "",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def found(*licences: str) -> dict[str, str]:
        chunks = code_chunks(tmp_path, SourceConfig(source="x", licences=licences, make="files"), 2)
        every = [one for chunk in chunks for one in read_code_chunk(chunk)]
        return {one.id: one.licence for one in every if isinstance(one, Document)} | {
            one.where: one.reason for one in every if not isinstance(one, Document) and "LICENSE" not in one.where
        }

    assert found() == {"a.py": "MIT", "b.py": "ISC", "sub/c.py": "GPL-3.0", "sub/d.py": "MIT", "sub/deep/e.py": "GPL-3.0"}
    not_asked = dict.fromkeys(("sub/c.py", "sub/deep/e.py"), "licence not asked for: GPL-3.0")
    assert found("MIT") == {"a.py": "MIT", "sub/d.py": "MIT", "b.py": "licence not asked for: ISC", **not_asked}
    (tmp_path / "LICENSE").unlink()
    assert found("MIT")["a.py"] == "licence unknown"
