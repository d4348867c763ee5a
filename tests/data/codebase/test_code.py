"""A code base as documents: which files, in whose name, in what encoding, and which functions as pairs."""

from __future__ import annotations

import ast
import os
import pickle
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import pytest
import rich
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codetune.data.codebase.code import code_chunks, read_code_chunk
from codetune.data.codebase.functions import functions
from codetune.data.codebase.repository import SourceFile, walk
from codetune.data.read import BadRow, Skipped
from codetune.data_recipe import SourceConfig
from codetune.errors import UserError
from codetune.records import Document

Found = Document | BadRow | Skipped


def read(folder: Path, files_per_chunk: int = 100, **config: object) -> list[Found]:
    chunks = code_chunks(folder, SourceConfig(source=str(folder), **config), files_per_chunk)
    return [found for chunk in chunks for found in read_code_chunk(pickle.loads(pickle.dumps(chunk)))]


def documents(folder: Path, **config: object) -> dict[str, Document]:
    return {found.id: found for found in read(folder, **config) if isinstance(found, Document)}


def left_out(folder: Path, **config: object) -> dict[str, str]:
    return {found.where: found.reason for found in read(folder, **config) if not isinstance(found, Document)}


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def git(folder: Path, *arguments: str) -> str:
    if not shutil.which("git"):
        pytest.skip("needs git")
    settings_ = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
    command = ["git", *who, "-C", str(folder), *arguments]
    return subprocess.run(command, env={**os.environ, **settings_}, capture_output=True, text=True, check=True).stdout


CODE = "x = 1\n"


def test_what_is_not_code_of_the_folders_own_is_left_out_and_said(tmp_path: Path) -> None:
    own = ["a.py", "pkg/b.py", "pkg/build/__init__.py", "pkg/build/c.py", "pkg/min.py", "generated/d.py"]
    expected = {
        "node_modules/": "vendored", "pkg/_vendor/": "vendored", "third_party/": "vendored", "jquery-3.6.0.js": "vendored",
        "site-packages/": "vendored", "env/": "virtual environment", ".venv/": "hidden", ".hidden.py": "hidden",
        "pkg/__pycache__/": "build output", "dist/": "build output", "build/": "build output", "target/": "build output",
        "rows_pb2.py": "generated", "rows_pb2_grpc.py": "generated", "api.pb.go": "generated", "Form.Designer.cs": "generated",
        "app.min.js": "minified", "package-lock.json": "lock file", "uv.lock": "lock file", "stub.pyi": "Python type stub",
        "picture.png": "no language that is known by its suffix", "main.go": "go is not asked for", "link.py": "symbolic link",
        "loop/": "symbolic link",
    }  # fmt: skip
    inside = {"env/": "pyvenv.cfg", "target/": "CACHEDIR.TAG"}
    files = {where + inside.get(where, "x.py") if where.endswith("/") else where: CODE for where in expected if not where.startswith("l")}
    write(tmp_path, {**files, **dict.fromkeys(own, CODE), "env/lib/x.py": CODE, "target/x.py": CODE})
    (tmp_path / "link.py").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to(tmp_path)
    expected["loop"] = expected.pop("loop/")  # a link is no folder, wherever it points
    assert left_out(tmp_path) == expected
    assert sorted(documents(tmp_path)) == sorted(own)


IGNORE_FILES = {
    ".gitignore": "*.log.py\n/top.py\nout/\n!keep.log.py\n# note\n\nlist/*\n!list/keep.py\ndeep/**\n!deep/keep/\n\\#odd.py\nspace.py \n!\n",
    "pkg/.gitignore": "!b.log.py\ntop.py\n/only.py\n*\n!*/\n!*.py\nd.py\r\n",
}
IGNORE_TREE = (
    "a.log.py", "keep.log.py", "top.py", "pkg/top.py", "pkg/b.log.py", "pkg/c.log.py", "pkg/d.py", "pkg/e.py", "pkg/only.py",
    "pkg/sub/only.py", "pkg/sub/f.py", "out/g.py", "pkg/out/h.py", "list/i.py", "list/keep.py", "list/sub/j.py", "deep/k.py",
    "deep/keep/l.py", "#odd.py", "space.py", "out.py", "private.py",
)  # fmt: skip


def test_gits_rules_are_gits(tmp_path: Path) -> None:
    """What is kept is what git itself lists: levels, negation, anchors, folders, `**`, escapes, CR LF, .git/info/exclude."""
    write(tmp_path, {**IGNORE_FILES, **dict.fromkeys(IGNORE_TREE, CODE)})
    git(tmp_path, "init", "-q")
    write(tmp_path, {".git/info/exclude": "private.py\n"})
    listed = git(tmp_path, "ls-files", "--others", "--exclude-standard").splitlines()
    expected = sorted(name for name in listed if name.endswith(".py"))
    assert sorted(documents(tmp_path)) == expected
    assert 0 < len(expected) < len(IGNORE_TREE)
    assert left_out(tmp_path)["out/"] == "ignored by git's rules"
    # Of a part of it, the rules above count too.
    assert sorted(documents(tmp_path / "pkg")) == [name.removeprefix("pkg/") for name in expected if name.startswith("pkg/")]


PATTERNS = st.lists(
    st.tuples(
        st.sampled_from(["", "!", "/", "!/"]),
        st.lists(st.sampled_from(["a", "b", "*", "**", "?", "[ab]", "*.py", "[!a].py"]), min_size=1, max_size=3),
        st.sampled_from(["", "/", "/**", " "]),
    ).map(lambda parts: parts[0] + "/".join(parts[1]) + parts[2]),
    min_size=1, max_size=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alike")
    git(folder, "init", "-q")
    return write(folder, {f"{above}{name}": CODE for above in ("", "a/", "b/", "a/b/", "a/c/a/") for name in ("a.py", "b.py")})


@given(above=PATTERNS, below=PATTERNS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rules_are_gits(alike: Path, above: list[str], below: list[str]) -> None:
    write(alike, {".gitignore": "\n".join(above), "a/.gitignore": "\n".join(below)})
    listed = git(alike, "ls-files", "--others", "--exclude-standard").splitlines()
    expected = sorted(name for name in listed if name.endswith(".py"))
    assert sorted(item.where for item in walk(alike).items if isinstance(item, SourceFile)) == expected


def test_a_folder_that_is_no_repository_has_the_same_rules(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "b.py\n", "a.py": CODE, "b.py": CODE})
    assert list(documents(tmp_path)) == ["a.py"]


@pytest.mark.parametrize("rule", ["work/", "demo"])
def test_a_folder_that_its_repository_ignores_is_none_of_its(tmp_path: Path, rule: str) -> None:
    write(tmp_path, {".gitignore": f"{rule}\n", "work/demo/b.py": CODE, "LICENSE": "Mozilla Public License Version 2.0"})
    git(tmp_path, "init", "-q")
    (found,) = documents(tmp_path / "work" / "demo").values()
    assert (found.group, found.licence, found.origin) == ("demo", "", "b.py")


def test_a_repository_gives_its_name_commit_and_remote_without_credentials(tmp_path: Path) -> None:
    write(tmp_path, {"src/a.py": CODE, "main.go": "package main\n", "README.md": "x" * 1000})
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "https://me:secret@example.com/owner/name.git")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "x")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    facts = {
        "path": "src/a.py", "file": "a.py", "repository": "owner/name", "repository_bytes": 6, "main_language": "python",
        "generated": False, "vendored": False,
    }  # fmt: skip
    assert documents(tmp_path / "src")["a.py"] == Document(
        id="a.py", text=CODE, source="src", origin=f"https://example.com/owner/name/blob/{commit}/src/a.py", group="owner/name", facts=facts
    )
    git(tmp_path, "pack-refs", "--all")
    git(tmp_path, "remote", "set-url", "origin", "git@example.com:owner/name.git")
    found = documents(tmp_path, languages=("go", "python"))
    assert found["src/a.py"].origin == f"https://example.com/owner/name/blob/{commit}/src/a.py"
    assert (found["main.go"].language, found["main.go"].facts["main_language"], found["main.go"].facts["repository_bytes"]) == (
        "go", "go", 13 + 6 + 1000
    )  # fmt: skip


def test_repositories_in_the_folder_are_groups_of_their_own(tmp_path: Path) -> None:
    """A nested one, a submodule (its .git is a file), and a worktree; the outer one's rules and licence do not count in them."""
    outer, library = tmp_path / "outer", tmp_path / "library"
    write(library, {"lib.py": CODE})
    git(library, "init", "-q")
    git(library, "add", ".")
    git(library, "commit", "-qm", "x")
    write(outer, {"a.py": CODE, "inner/b.py": CODE, "LICENSE": "Mozilla Public License Version 2.0", ".gitignore": "b.py"})
    git(outer, "init", "-q")
    git(outer / "inner", "init", "-q")
    git(outer, "submodule", "add", "-q", str(library), "sub")
    git(library, "worktree", "add", "-q", str(outer / "tree"))
    commit = git(library, "rev-parse", "HEAD").strip()
    found = documents(outer)
    assert {name: (one.group, one.licence) for name, one in found.items()} == {
        "a.py": ("outer", "MPL-2.0"), "inner/b.py": ("outer/inner", ""), "sub/lib.py": ("outer/sub", ""), "tree/lib.py": ("outer/tree", ""),
    }  # fmt: skip
    git(library, "remote", "add", "origin", "https://example.com/o/library")  # a worktree's settings are its repository's
    assert documents(outer)["tree/lib.py"].origin == f"https://example.com/o/library/blob/{commit}/lib.py"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\xef\xbb\xbfx = 1\r\ny = 2\r\n", "x = 1\ny = 2\n"),
        (b"# coding: latin-1\nx = '\xe9'\n", "# coding: latin-1\nx = 'é'\n"),
        ("x = 'é'\n".encode(), "x = 'é'\n"),
        (b"x = '\xe9'\n", None),
        (b"x = 1\n\x00", None),
        (b"# coding: nonsense\n", None),
        (b"# coding: rot13\n", None),
        (b"# coding: unicode_escape\nx = '\\ud800'\n", None),
        ("x = 1\n".encode("utf-16"), None),
        (b"\xef\xbb\xbf# coding: latin-1\n", None),
        (b"", ""),
    ],
)
def test_encodings(tmp_path: Path, content: bytes, text: str | None) -> None:
    write(tmp_path, {"a.py": content})
    (found, *_) = read(tmp_path, make="files")
    assert (found.text if isinstance(found, Document) else None) == text
    if text is None:
        assert found == BadRow("a.py", "not text: it has NUL bytes or does not decode")


def test_only_pythons_coding_lines_count(tmp_path: Path) -> None:
    write(tmp_path, {"a.sh": b"# coding: latin-1\n# \xe9\n", "b.sh": "# é\n"})
    assert isinstance(read(tmp_path, languages=("shell",), make="files")[0], BadRow)
    assert documents(tmp_path, languages=("bash",), make="files")["b.sh"].text == "# é\n"


def test_large_lost_and_odd_files_do_not_stop_the_rest(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": CODE, "lost.py": CODE, "grown.py": CODE})
    with (tmp_path / "huge.py").open("wb") as huge:
        huge.truncate(10_000_001)
    odd = os.fsencode(tmp_path) + b"/\xff.py"
    Path(os.fsdecode(odd)).write_text(CODE)
    os.mkfifo(tmp_path / "pipe.py")
    (chunk,) = code_chunks(tmp_path, SourceConfig(source="x"), 100)
    (tmp_path / "lost.py").unlink()
    with (tmp_path / "grown.py").open("wb") as grown:
        grown.truncate(10_000_001)
    found = list(read_code_chunk(chunk))
    assert [one.id for one in found if isinstance(one, Document)] == ["a.py"]
    assert sorted((type(one).__name__, one.where, one.reason) for one in found if not isinstance(one, Document)) == [
        ("BadRow", "lost.py", "cannot be read (No such file or directory)"),
        ("Skipped", "\\udcff.py", "its name is not UTF-8"),
        ("Skipped", "grown.py", "larger than 10 MB"),
        ("Skipped", "huge.py", "larger than 10 MB"),
        ("Skipped", "pipe.py", "no regular file"),
    ]


def test_chunk_size_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, {f"{folder}{name}": CODE for folder in ("", "b/", "a/", "a/c/") for name in ("2.py", "10.py", "1.md", "z.js")})
    whole = read(tmp_path)
    assert [one.id for one in whole if isinstance(one, Document)] == [
        "10.py", "2.py", "a/10.py", "a/2.py", "a/c/10.py", "a/c/2.py", "b/10.py", "b/2.py"
    ]  # fmt: skip
    assert all(read(tmp_path, size) == whole for size in (1, 3, 8, 1000))
    names = [chunk.name for chunk in code_chunks(tmp_path, SourceConfig(source="x"), 3)]
    assert names[:3] == [f"{tmp_path.name}, file {number}" for number in (1, 4, 7)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"languages": ("rust", "C++")}, "{path}: no files in rust, cpp; there are go (2), python (1); set languages"),
        ({"languages": ("go",), "make": "pairs"}, "{path}: no files in python, the only language that pairs are made of; there are go (2)"),
        ({"languages": ("pyton",)}, "unknown language 'pyton'; did you mean 'python'? valid: "),
    ],
)
def test_a_wrong_recipe_is_one_line(tmp_path: Path, config: dict[str, object], message: str) -> None:
    write(tmp_path, {"a.go": CODE, "b.go": CODE, "c.py": CODE})
    with pytest.raises(UserError) as caught:
        read(tmp_path, **config)
    assert str(caught.value).startswith(message.format(path=tmp_path))
    assert "\n" not in str(caught.value)


def test_a_path_that_is_no_working_folder_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": CODE})
    git(tmp_path, "init", "-q", "--bare", "bare")
    (tmp_path / "empty").mkdir()
    for name, message in (("a.py", "is a file; give"), ("none", "not found"), ("bare", "is a bare git"), ("empty", "there are none")):
        with pytest.raises(UserError, match=message):
            code_chunks(tmp_path / name, SourceConfig(source="x"), 10)


FUNCTIONS = '''\
import typing


def plain(x):
    """Add one.

    More words.
    """

    return x + 1


@cache
@typing.no_type_check
async def decorated(
    x,  # a note
):
    "Wait for\\n    x."
    return await x  # the end


class A(B):
    """A class."""

    def method(self):
        r"""Say it."""
        text = f"""
        left
{self}
    """
        long = ("side "
                "by side")
# at the margin
        return text + long

    @property
    def method(self):
        """Again."""
        def inner():
            """Within."""
            return 2
        return inner

    class B:
        if True:
            def deep(self): "Deep."; return 1

    def stub(self):
        """Not here."""
        raise NotImplementedError("no")

    @typing.overload
    def over(self):
        """Overload."""
        return 1

    def only(self):
        """Only words."""

    def dots(self):
        """Dots."""
        ...

    def bare(self):
        return 1

    def blank(self):
        """   """
        return 1
'''


def test_pairs_by_hand(tmp_path: Path) -> None:
    write(tmp_path, {"pkg/a.py": FUNCTIONS, "pyproject.toml": '[project]\nlicense = "MIT"\n'})
    found = documents(tmp_path, make="pairs")
    assert {name.removeprefix("pkg/a.py::"): (one.instruction, one.text) for name, one in found.items()} == {
        "plain": ("Add one.", "def plain(x):\n\n    return x + 1\n"),
        "decorated": (
            "Wait for\nx.",
            "@cache\n@typing.no_type_check\nasync def decorated(\n    x,  # a note\n):\n    return await x  # the end\n",
        ),
        "A.method": (
            "Say it.",
            'def method(self):\n    text = f"""\n        left\n{self}\n    """\n    long = ("side "\n            "by side")\n'
            "# at the margin\n    return text + long\n",
        ),
        "A.method#2": (
            "Again.",
            '@property\ndef method(self):\n    def inner():\n        """Within."""\n        return 2\n    return inner\n',
        ),
        "A.B.deep": ("Deep.", "def deep(self):\n    return 1\n"),
    }
    assert left_out(tmp_path, make="pairs") == {
        "pyproject.toml": "toml is not asked for",
        "pkg/a.py::A.method.inner": "function in a function",
        "pkg/a.py::A.stub": "function that does nothing",
        "pkg/a.py::A.over": "overload",
        "pkg/a.py::A.only": "function that does nothing",
        "pkg/a.py::A.dots": "function that does nothing",
        "pkg/a.py::A.bare": "function without a docstring",
        "pkg/a.py::A.blank": "function without a docstring",
    }
    deep = found["pkg/a.py::A.B.deep"]
    assert (deep.entry_point, deep.group, deep.licence, deep.origin) == ("deep", tmp_path.name, "MIT", "pkg/a.py#L46-L46")
    assert (deep.facts["method"], found["pkg/a.py::plain"].facts["method"]) == (True, False)


def test_a_pair_says_which_file_it_is_from(tmp_path: Path) -> None:
    """So that they stay on one side of a split."""
    write(tmp_path, {"pkg/a.py": FUNCTIONS, "b.py": FUNCTIONS})
    found = documents(tmp_path)
    assert len(found) == 12
    assert found["b.py"].text == FUNCTIONS
    for name, one in found.items():
        assert (one.facts["file"], one.group) == (name.partition("::")[0], tmp_path.name)


def test_languages_without_pairs_say_so_once(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": FUNCTIONS, "b.js": CODE, "c.js": CODE})
    config = {"languages": ("python", "javascript", "rust")}
    assert [one for one in read(tmp_path, **config) if "alone" in getattr(one, "reason", "")] == [
        Skipped("javascript", "pairs are made of Python alone")
    ]
    assert {"b.js", "c.js"} < set(documents(tmp_path, **config))
    assert not {"b.js", "c.js"} & set(documents(tmp_path, make="pairs", **config))
    assert "javascript" not in left_out(tmp_path, make="files", **config)


def test_python_2_and_what_is_nested_too_deep_give_no_pairs(tmp_path: Path) -> None:
    write(tmp_path, {"two.py": "print 'x'\n", "deep.py": 'def f(): "Add."; return ' + "+".join("1" * 1500)})
    assert list(documents(tmp_path)) == ["deep.py", "two.py"]
    assert left_out(tmp_path) == {"two.py": "no pairs: does not parse as Python 3", "deep.py::f": "nested too deep"}


@pytest.mark.parametrize("mark", ["\x0c", "\x1c", "\u2028"])
def test_marks_that_only_splitlines_cuts_at_shift_nothing(mark: str) -> None:
    (found,) = functions(f'def f(x):  # {mark}\n    """Say."""\n    return "{mark}"\n') or ()
    assert found.text == f'def f(x):  # {mark}\n    return "{mark}"\n'


@pytest.mark.parametrize("value", ["'a\\\n    b'", "\'\'\'a\n    b\'\'\'", "('a'\n     'b')"])
@pytest.mark.parametrize("body", ["\n        'Say.'\n        return ", " 'Say.'; return "])
def test_strings_keep_their_value(value: str, body: str) -> None:
    (found,) = functions(f"class A:\n    def f(self):{body}{value}\n") or ()
    names: dict[str, Any] = {}
    exec(found.text, names)
    assert names["f"](None) == ast.literal_eval(value)


@pytest.mark.parametrize("folder", ["json", "email", "logging"])
def test_what_is_cut_out_means_what_it_meant(folder: str) -> None:
    """Of the standard library: the same syntax tree, but for the docstring, and as many functions as there are."""
    checked = 0
    for path in sorted((Path(sysconfig.get_paths()["stdlib"]) / folder).glob("*.py")):
        text = path.read_text(encoding="utf-8")
        nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        by_line = {min([node.lineno, *(each.lineno for each in node.decorator_list)]): node for node in nodes}
        found = functions(text) or []
        assert sorted(one.first_line for one in found) == sorted(by_line)
        for one in found:
            if not one.reason:
                node = by_line[one.first_line]
                del node.body[0]
                assert ast.dump(ast.parse(one.text).body[0]) == ast.dump(node)
                checked += 1
    assert checked > 10


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))))
@settings(max_examples=60, deadline=None)
def test_any_bytes_give_documents_or_reasons(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        found = read(write(Path(name), {"a.py": content, "b.py": FUNCTIONS}))
    assert sum(one.id.startswith("b.py") for one in found if isinstance(one, Document)) == 6  # whatever a.py is
    for one in found:
        assert (one.id if isinstance(one, Document) else one.where).startswith(("a.py", "b.py"))
        if isinstance(one, Document):
            one.whole.encode()


@given(st.text(alphabet="def f():\n\t\"'\\x0 #@class;\x0c", max_size=80))
@settings(max_examples=150, deadline=None)
def test_any_program_is_cut_up_without_error(text: str) -> None:
    for one in functions('class A:\n    def g(self):\n        "Say."\n        ' + text) or ():
        assert one.reason or ast.parse(one.text)


def test_the_standard_librarys_json(tmp_path: Path) -> None:
    folder = Path(sysconfig.get_paths()["stdlib"]) / "json"
    found = documents(folder)
    files = [name for name, one in found.items() if one.kind == "code"]
    assert files == ["__init__.py", "decoder.py", "encoder.py", "scanner.py", "tool.py"]
    pair = found["decoder.py::JSONDecoder.raw_decode"]
    assert pair.instruction.startswith("Decode a JSON document from ``s``")
    assert pair.text == (
        "def raw_decode(self, s, idx=0):\n    try:\n        obj, end = self.scan_once(s, idx)\n    except StopIteration as err:\n"
        '        raise JSONDecodeError("Expecting value", s, err.value) from None\n    return obj, end\n'
    )
    assert (pair.licence, pair.group, pair.facts["path"]) == ("PSF-2.0", "python-standard-library", "json/decoder.py")


def test_an_installed_package(tmp_path: Path) -> None:
    folder = Path(rich.__file__).parent
    found = documents(folder)
    assert found["console.py"].text == (folder / "console.py").read_text(encoding="utf-8")
    assert {(one.licence, one.group, one.facts["main_language"]) for one in found.values()} == {("MIT", "rich", "python")}
    assert found["console.py::Console.print"].facts["path"] == "rich/console.py"
    assert found["console.py::Console.print"].text.startswith("def print(\n    self,\n    *objects: Any,\n")
    assert read(folder, licences=("BSD-3-Clause",))[-1].reason == "licence not asked for: MIT"  # type: ignore[union-attr]


def test_each_package_of_a_site_folder_is_a_group(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "site-packages"
    record = {"one": "one/a.py,,\none-1.0.dist-info/METADATA,,\nshared/x.py,,\n", "two": "two.py,,\nshared/y.py,,\n"}
    for name, licence in (("one", "MIT"), ("two", "ISC")):
        write(site / f"{name}-1.0.dist-info", {"METADATA": f"Name: {name}\nLicense-Expression: {licence}\n", "RECORD": record[name]})
    write(site, {"one/a.py": CODE, "two.py": CODE, "shared/x.py": CODE, "stray.py": CODE, "one/_vendor/x.py": CODE})
    assert {name: (one.group, one.licence, one.facts["path"]) for name, one in documents(site).items()} == {
        "one/a.py": ("one", "MIT", "one/a.py"), "two.py": ("two", "ISC", "two.py"), "shared/x.py": ("shared", "", "shared/x.py"),
        "stray.py": ("stray", "", "stray.py"),
    }  # fmt: skip
    assert [(one.group, one.licence, one.facts["path"]) for one in documents(site / "one").values()] == [("one", "MIT", "one/a.py")]
