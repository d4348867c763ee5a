"""What a file's name says: its programming language, and whether it was generated, minified, locked or copied from elsewhere.

Languages have the names of The Stack's `lang`, as plain words in lower case, and Linguist's first suffixes for them; the rules on
generated and vendored files are Linguist's that go by names (github-linguist/linguist: lib/linguist/languages.yml, generated.rb,
vendor.yml).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from codetune.data.languages import canonical
from codetune.errors import UserError, nearest

LANGUAGES: dict[str, str] = {  # language: its suffixes; of those that languages share (.h, .m) the commonest use
    "python": ".py .pyw", "javascript": ".js .mjs .cjs .jsx", "typescript": ".ts .mts .cts .tsx", "java": ".java", "c": ".c .h",
    "cpp": ".cpp .cc .cxx .c++ .hpp .hh .hxx .h++ .ipp .tpp", "csharp": ".cs", "go": ".go", "rust": ".rs", "ruby": ".rb .rake",
    "php": ".php", "shell": ".sh .bash .zsh .ksh", "sql": ".sql", "kotlin": ".kt .kts", "swift": ".swift", "scala": ".scala",
    "dart": ".dart", "lua": ".lua", "perl": ".pl .pm", "r": ".r", "julia": ".jl", "haskell": ".hs", "ocaml": ".ml .mli",
    "elixir": ".ex .exs", "erlang": ".erl .hrl", "clojure": ".clj .cljs .cljc", "fsharp": ".fs .fsi .fsx", "fortran": ".f90 .f95 .f03 .f",
    "cuda": ".cu .cuh", "zig": ".zig", "nim": ".nim", "groovy": ".groovy .gradle", "powershell": ".ps1 .psm1", "assembly": ".s .asm",
    "verilog": ".v", "vhdl": ".vhd .vhdl", "objective-c": ".m .mm", "visual-basic": ".vb", "html": ".html .htm", "css": ".css",
    "vue": ".vue", "markdown": ".md", "restructuredtext": ".rst", "json": ".json", "yaml": ".yaml .yml", "toml": ".toml",
}  # fmt: skip
NO_PROGRAMS = {"html", "css", "markdown", "restructuredtext", "json", "yaml", "toml"}  # not counted for a repository's main language
_BY_SUFFIX = {suffix: language for language, suffixes in LANGUAGES.items() for suffix in suffixes.split()}

_LOCKS = {"package-lock.json", "npm-shrinkwrap.json", "composer.lock", "pnpm-lock.yaml", "packages.lock.json"}
_MINIFIED = re.compile(r"[.-]min\.(js|mjs|cjs|css)$|\.bundle\.(js|css)$")
_GENERATED = re.compile(
    r"_pb2(_grpc)?\.py$|\.pb\.(go|cc|c|h|validate\.go|gw\.go)$|_grpc_pb\.js$|_pb\.(js|ts|rb)$|\.g\.(cs|dart)$|\.freezed\.dart$"
    r"|\.(generated|gen)\.\w+$|^zz_generated|\.designer\.(cs|vb)$|\.feature\.cs$|^assemblyinfo\.cs$|^(moc|qrc)_.*\.(cpp|cc)$"
    r"|\.tab\.(c|h|cc|cpp|hh|hpp)$|^lex\.yy\.c$|^(parsetab|lextab)\.py$|\.zep\.(c|h|php)$"
)
_COPIED = re.compile(
    r"^(jquery|bootstrap|react|angular|d3|modernizr|prototype|mootools)([.-]?[\w-]*\d[\w.-]*)?\.(js|css)$|^(versioneer|ez_setup)\.py$"
)


def language_of(name: str) -> str:
    """The language of a file by its suffix; "" where that is none of these.

    >>> language_of("a.PY"), language_of("Makefile")
    ('python', '')
    """
    return _BY_SUFFIX.get(os.path.splitext(name)[1].lower(), "")


def named_languages(names: Iterable[str]) -> tuple[str, ...]:
    """The languages that a recipe asks for, each once; "C++" and the like are names as well. Raises UserError for an unknown one."""
    found = [canonical(name) for name in names]
    for name in found:
        if name not in LANGUAGES:
            raise UserError(f"unknown language {name!r}; {nearest(name, LANGUAGES)}")
    return tuple(dict.fromkeys(found))


def not_written_here(name: str) -> str:
    """Why a file was not written by the people of its repository, as far as its name says; "" where it does not."""
    name = name.lower()
    if name in _LOCKS or name.endswith(".lock"):
        return "lock file"
    if _MINIFIED.search(name):
        return "minified"
    if _GENERATED.search(name):
        return "generated"
    return "vendored" if _COPIED.search(name) else ""
