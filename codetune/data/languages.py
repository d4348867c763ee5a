"""Names of programming languages: one spelling for each, whatever a data set calls it."""

from __future__ import annotations

_SAME = {
    "c++": "cpp", "c#": "csharp", "c-sharp": "csharp", "f#": "fsharp", "f-sharp": "fsharp", "py": "python", "python3": "python",
    "js": "javascript", "jsx": "javascript", "ts": "typescript", "tsx": "typescript", "golang": "go", "sh": "shell", "bash": "shell",
    "rb": "ruby", "rs": "rust", "objc": "objective-c",
}  # fmt: skip
_ON_THE_HUB = {  # folders of The Stack and of StarCoder's data
    "data/{language}": {"cpp": "c++", "csharp": "c-sharp", "fsharp": "f-sharp"},
    "{language}": {"csharp": "c-sharp", "fsharp": "f-sharp"},
}


def canonical(name: str) -> str:
    """Lower case, blanks as hyphens.

    >>> canonical("C++"), canonical("Jupyter Notebook")
    ('cpp', 'jupyter-notebook')
    """
    plain = name.strip().lower().replace(" ", "-")
    return _SAME.get(plain, plain)


def hub_folder(pattern: str, language: str) -> str:
    """The folder in which a data set of the hub has the files of a language."""
    plain = canonical(language)
    return pattern.format(language=_ON_THE_HUB.get(pattern, {}).get(plain, plain))
