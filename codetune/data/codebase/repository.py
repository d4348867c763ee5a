"""Which files of a folder are source code of its own, in which language, licence and repository, and why each other one is left out.

Git's rules hold (.gitignore of every level, .git/info/exclude), whether the folder is a repository or not; a user's global excludes and
git's index are not read, so that the same folder gives the same files on every machine. Repositories in the folder, submodules too, are
repositories of their own, and so are the packages of a site-packages folder.
"""

from __future__ import annotations

import os
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from codetune.data.codebase.filenames import NO_PROGRAMS, language_of, not_written_here
from codetune.data.codebase.licences import distribution_licence, folder_licence
from codetune.data.read import BadRow, Skipped

MAX_FILE_BYTES = 10_000_000
TOO_LARGE = f"larger than {MAX_FILE_BYTES // 1_000_000} MB"

_SITES = {"site-packages", "dist-packages"}
_VENDORED = _SITES | {
    "node_modules", "bower_components", "jspm_packages", "vendor", "vendors", "_vendor", "third_party", "third-party", "thirdparty",
    "3rdparty", "3rd_party", "extern", "externs", "external", "externals", "godeps", "pods", "carthage",
}  # fmt: skip
_OUTPUT = {"build", "dist", "_build"}  # Python packages of these names are source code
_METADATA = (".dist-info", ".egg-info")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to learn from."""

    where: str  # its path in the folder that was given, with "/"
    language: str
    size_bytes: int
    licence: str  # of the nearest folder that states one; the file itself may state another
    repository: int  # index into `Tree.repositories`


Item = SourceFile | Skipped | BadRow


@dataclass(frozen=True, slots=True)
class Repository:
    """What is kept together when data is split: a git repository, an installed package, or the folder as a whole."""

    name: str
    folder: Path  # what its own paths start at
    remote: str = ""
    commit: str = ""
    licence: str = ""
    language_bytes: Counter[str] = field(default_factory=Counter)  # of its source files

    @property
    def main_language(self) -> str:
        programs = {language: size for language, size in self.language_bytes.items() if language not in NO_PROGRAMS}
        return min(programs, key=lambda language: (-programs[language], language), default="")


@dataclass(frozen=True, slots=True)
class Tree:
    """All that is in a folder, in an order that depends on the names alone."""

    items: list[Item]
    repositories: list[Repository]


@dataclass(frozen=True, slots=True)
class _Ignore:
    """A pattern of a .gitignore file: of all that fit, the last of the deepest file decides."""

    folder: str  # whose file it is in
    pattern: GitIgnoreSpecPattern
    folders_only: bool

    def fits(self, path: str, is_folder: bool) -> bool:
        """Whether it is this file or folder that is meant; pathspec's patterns also fit all that lies in a folder they fit (`ps_d`)."""
        if self.pattern.regex is None or (self.folders_only and not is_folder):
            return False
        found = self.pattern.regex.search(path[len(self.folder) + 1 :])
        return found is not None and found.groupdict().get("ps_d") is None


@dataclass(frozen=True, slots=True)
class _Folder:
    path: Path
    where: str  # "" for the folder that was given, else "a/b/"
    repository: int
    licence: str = ""
    ignores: tuple[_Ignore, ...] = ()


def walk(root: Path) -> Tree:
    """Every file of a folder (an absolute path without links), as a source file or as one that is left out; left-out folders as one."""
    tree = Tree([], [])
    waiting = [_started(root, tree)]
    while waiting:
        waiting += reversed(list(_visited(waiting.pop(), tree)))
    return tree


def git_folder(folder: Path) -> Path | None:
    """The folder in which git keeps a repository: `.git`, or where a submodule's or worktree's `.git` file points to."""
    found = folder / ".git"
    if found.is_file() and (pointer := re.match(r"gitdir: (.+)", _text(found))):
        found = folder / pointer[1].strip()
    return found if (found / "HEAD").is_file() else None


def unreadable(error: OSError) -> str:
    """The reason of a bad row: the system's words, which name no path."""
    return f"cannot be read ({error.strerror})"


def _visited(folder: _Folder, tree: Tree) -> Iterator[_Folder]:
    """The subfolders to go into; what else is in the folder is put into the tree."""
    try:
        with os.scandir(folder.path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        tree.items.append(BadRow(folder.where or ".", unreadable(error)))
        return
    names = {entry.name for entry in entries}
    if folder.where and (reason := _folder_reason(folder.path.name.lower(), names)):
        tree.items.append(Skipped(folder.where, reason))
        return
    folder = _entered(folder, names, tree)
    packages = _Packages(folder.path, tree) if folder.path.name in _SITES else None
    for entry in entries:
        where, is_folder = folder.where + entry.name, entry.is_dir(follow_symlinks=False)
        if entry.name == ".git":
            continue
        if reason := _reason(entry, is_folder, folder.ignores):
            shown = where.encode("utf-8", "backslashreplace").decode()
            tree.items.append(Skipped(shown + "/" if is_folder else shown, reason))
            continue
        home = folder
        if packages:
            owner = packages.of(entry.name)
            home = replace(folder, repository=owner, licence=tree.repositories[owner].licence)
        if is_folder:
            yield replace(home, path=folder.path / entry.name, where=where + "/")
        else:
            tree.items.append(_file(entry, where, home, tree))


def _file(entry: os.DirEntry[str], where: str, folder: _Folder, tree: Tree) -> Item:
    """A file that no rule on names leaves out."""
    language = language_of(entry.name)
    if not language:
        return Skipped(where, "Python type stub" if entry.name.endswith(".pyi") else "no language that is known by its suffix")
    try:
        size = entry.stat(follow_symlinks=False).st_size
    except OSError as error:
        return BadRow(where, unreadable(error))
    if size > MAX_FILE_BYTES:
        return Skipped(where, TOO_LARGE)
    tree.repositories[folder.repository].language_bytes[language] += size
    return SourceFile(where, language, size, folder.licence, folder.repository)


def _reason(entry: os.DirEntry[str], is_folder: bool, ignores: tuple[_Ignore, ...]) -> str:
    """Why a file or folder is left out by its name; "" where it is not."""
    name = entry.name.lower()
    if not name.isascii() and entry.name.encode("utf-8", "replace").decode() != entry.name:
        return "its name is not UTF-8"
    if entry.is_symlink():
        return "symbolic link"
    if name.startswith("."):
        return "hidden"
    if is_folder:
        if name == "__pycache__" or name.endswith(_METADATA):
            return "build output"
        return "vendored" if name in _VENDORED else "ignored by git's rules" if _is_ignored(ignores, entry.path, True) else ""
    if not entry.is_file(follow_symlinks=False):
        return "no regular file"
    return not_written_here(name) or ("ignored by git's rules" if _is_ignored(ignores, entry.path, False) else "")


def _folder_reason(name: str, names: set[str]) -> str:
    """Why a folder is left out by what is in it; "" where it is not."""
    if "pyvenv.cfg" in names or "conda-meta" in names:
        return "virtual environment"
    if name in _OUTPUT and "__init__.py" not in names:
        return "build output"
    return "build output" if "CACHEDIR.TAG" in names else ""  # Cargo's target folder, pytest's and mypy's caches (bford.info/cachedir)


def _started(root: Path, tree: Tree) -> _Folder:
    """The folder to begin with, in the repository or package that it is a part of."""
    site = next((parent for parent in root.parents if parent.name in _SITES), None)
    library = Path(sysconfig.get_paths()["stdlib"]).resolve()
    if site:
        home = _Packages(site, tree).of(root.relative_to(site).parts[0])
        return _Folder(root, "", home, tree.repositories[home].licence)
    if root.name not in _SITES and library in (root, *root.parents):
        tree.repositories.append(Repository("python-standard-library", library, licence="PSF-2.0"))
        return _Folder(root, "", 0, "PSF-2.0")
    inside = None if git_folder(root) else _inside_git(root, tree)
    if inside is None:
        tree.repositories.append(Repository(root.name, root))
    return inside or _Folder(root, "", 0)


def _inside_git(root: Path, tree: Tree) -> _Folder | None:
    """The folder as a part of the repository around it; None where there is none, or that ignores the folder."""
    above = next((parent for parent in root.parents if git_folder(parent)), None)
    if above is None:
        return None
    around = Tree([], [])
    folder = _Folder(above, "", 0)
    for level in reversed([parent for parent in root.parents if parent == above or above in parent.parents]):
        if _is_ignored(folder.ignores, str(level), True):
            return None
        folder = _entered(replace(folder, path=level), set(os.listdir(level)), around)
    if _is_ignored(folder.ignores, str(root), True):
        return None
    tree.repositories.extend(around.repositories)
    return replace(folder, path=root)


def _entered(folder: _Folder, names: set[str], tree: Tree) -> _Folder:
    """The folder with the rules and the licence that it adds; a repository of its own where git has one there."""
    if ".git" in names and (git := git_folder(folder.path)):
        kept = git / _text(git / "commondir").strip()  # a worktree's branches and settings are the repository's
        remote = _remote(_text(kept / "config"))
        local = f"{tree.repositories[0].name}/{folder.where}".rstrip("/") if tree.repositories else folder.path.name
        name = "/".join(remote.split("/")[3:]) or local
        tree.repositories.append(Repository(name, folder.path, remote, _commit(git, kept)))
        own = tuple(_ignores(folder.path, kept / "info" / "exclude"))
        folder = replace(folder, repository=len(tree.repositories) - 1, licence="", ignores=own)
    if ".gitignore" in names:
        folder = replace(folder, ignores=(*folder.ignores, *_ignores(folder.path, folder.path / ".gitignore")))
    return replace(folder, licence=folder_licence(folder.path, names) or folder.licence)


def _ignores(folder: Path, file: Path) -> list[_Ignore]:
    found = []
    for line in _text(file).split("\n"):
        line = re.sub(r"(?<!\\) +$", "", line.removesuffix("\r"))
        pattern = re.sub(r"/\*\*$", "/**/*", line.removesuffix("/"))  # all within a folder, not the folder itself
        try:
            found.append(_Ignore(str(folder), GitIgnoreSpecPattern(pattern), line.endswith("/")))
        except ValueError:  # a lone "!" and the like; git passes over them too
            continue
    return found


def _is_ignored(ignores: tuple[_Ignore, ...], path: str, is_folder: bool) -> bool:
    # Not by GitIgnoreSpec: it judges paths without their folders, and differs from git on "*", "!*/", "!*.py" and the like.
    return next((bool(ignore.pattern.include) for ignore in reversed(ignores) if ignore.fits(path, is_folder)), False)


class _Packages:
    """The packages of a site-packages folder, by the files and folders at its top."""

    def __init__(self, site: Path, tree: Tree) -> None:
        self._site, self._tree = site, tree
        self._owners: dict[str, list[Path]] = {}
        self._found: dict[str, int] = {}
        for info in sorted(site.glob("*.dist-info")):
            tops = {line.split(",")[0].partition("/")[0] for line in _text(info / "RECORD").splitlines()}
            for top in tops - {info.name, "..", "__pycache__"}:
                self._owners.setdefault(top, []).append(info)

    def of(self, top: str) -> int:
        """The index of the repository that a file or folder belongs to; of several with unlike licences the licence is unknown."""
        owners = self._owners.get(top, [])
        name = owners[0].name.split("-")[0] if len(owners) == 1 else os.path.splitext(top)[0]
        if name not in self._found:
            licences = {distribution_licence(info) for info in owners}
            self._found[name] = len(self._tree.repositories)
            self._tree.repositories.append(Repository(name, self._site, licence=licences.pop() if len(licences) == 1 else ""))
        return self._found[name]


def _remote(config: str) -> str:
    """Where a repository was cloned from, without credentials; "" where that is a folder or nowhere."""
    remotes = dict(re.findall(r'^\s*\[remote "(.+?)"\][^\[]*?^\s*url\s*=\s*(\S+)', config, re.MULTILINE))
    url = remotes.get("origin") or next(iter(remotes.values()), "")
    short = re.fullmatch(r"(?:[\w.-]+@)?([\w.-]+\.[\w-]+):(?!//)/?(.+)", url)  # git@github.com:owner/name.git
    url = f"https://{short[1]}/{short[2]}" if short else re.sub(r"//[^/]*@", "//", url)
    return re.sub(r"(\.git)?/*$", "", url) if re.match(r"(https?|ssh|git)://", url) else ""


def _commit(git: Path, kept: Path) -> str:
    head = _text(git / "HEAD").strip()
    name = head.removeprefix("ref: ")
    if name != head:
        packed = re.search(rf"^([0-9a-f]{{40,64}}) {re.escape(name)}$", _text(kept / "packed-refs"), re.MULTILINE)
        head = _text(kept / name).strip() or (packed[1] if packed else "")
    return head if re.fullmatch(r"[0-9a-f]{40,64}", head) else ""


def _text(path: Path) -> str:
    """The text of a small file of git's or a package's; "" where there is none."""
    try:
        return "" if path.is_symlink() else path.read_text(encoding="utf-8-sig", errors="replace")
    except (OSError, ValueError):
        return ""
