"""The files of the page: no markup is made of text, nothing comes from elsewhere, and its dress is the report's."""

import re
from pathlib import Path

import codetune

STATIC = Path(codetune.__file__).parent / "serve" / "static"
REPORT = Path(codetune.__file__).parent / "study" / "templates"
SCRIPTS, STYLES = sorted(STATIC.glob("*.js")), sorted(STATIC.glob("*.css"))
MARKUP = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|[^\w.]import\(")
PAGE = (STATIC / "index.html").read_text(encoding="utf-8")


def colors(text):
    return dict(re.findall(r"(--[\w-]+): ([^;]+);", text))


def test_no_script_makes_markup_or_code_of_text():
    assert len(SCRIPTS) > 20
    for path in SCRIPTS:
        script = path.read_text(encoding="utf-8")
        assert not MARKUP.search(script), path.name


def test_everything_is_the_servers_own():
    for path in [*SCRIPTS, *STYLES, STATIC / "index.html"]:
        found = re.findall(r"https?://[\w./]+|@import|url\(", path.read_text(encoding="utf-8"))
        assert set(found) <= {"http://www.w3.org/2000/svg"}, path.name
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! (?:type=\"module\" )?src=\"/static/)", PAGE)


def test_every_module_is_asked_for_at_once():
    modules = set(re.findall(r'rel="modulepreload" href="/static/(\S+?)"', PAGE))
    assert modules | {"main.js", "theme.js"} == {path.name for path in SCRIPTS}


def test_colours_and_the_switch_of_themes_are_the_reports():
    styles = (STATIC / "app.css").read_text(encoding="utf-8")
    light, forced = styles.split("@media (prefers-color-scheme: dark)")[0], styles.split(':root[data-theme="dark"]')[1]
    by_system = styles.split("@media (prefers-color-scheme: dark)")[1].split(':root[data-theme="dark"]')[0]
    for name, mine in (("light", light), ("dark", forced), ("dark", by_system)):
        theirs = colors((REPORT / f"{name}.css").read_text(encoding="utf-8"))
        assert len(theirs) > 20
        assert theirs.items() <= colors(mine).items()
    assert (STATIC / "theme.js").read_text(encoding="utf-8") == (REPORT / "theme.js").read_text(encoding="utf-8")
