"""Families on laying text out: fields, padding, names in other cases, lines."""

# ruff: noqa: E501 (the wishes are prose; broken lines would hide how they differ)

from __future__ import annotations

from collections.abc import Iterator

from codetune.data.basics.family import Family, Variant, family

FAMILIES: list[Family] = []

SEPARATORS = {"comma": ",", "semicolon": ";", "vertical bar": "|", "slash": "/", "colon": ":", "equals sign": "="}


def _rows(*texts: str) -> tuple[tuple[str], ...]:
    return tuple((text,) for text in texts)


@family("rejoin_fields", FAMILIES)
def rejoin_fields() -> Iterator[Variant]:
    for called, separator in SEPARATORS.items():
        fields = f'[field.strip() for field in line.split("{separator}")]'
        texts = _rows("", "b, a ,c".replace(",", separator), " x ", "one,,two words , three".replace(",", separator), "k,,b,a,b;|/=:,z".replace(",", separator))
        for how, joined in (("' - '", " - "), ("a plus sign", "+")):
            for what, code, name in (
                ("in their order", "fields", "rejoin"),
                ("in reverse order", "fields[::-1]", "reverse_fields"),
                ("in alphabetical order", "sorted(fields)", "sort_fields"),
                ("leaving out empty ones", "[field for field in fields if field]", "compact_fields"),
            ):
                yield Variant(
                    (name, "convert_line", "change_separator"),
                    "line",
                    (
                        f"splits the line at each {called}, strips the fields of white space and returns them joined by {how}, {what}",
                        f"returns the {called}-separated fields of a line, stripped, {what} and joined by {how}",
                        f"joins the stripped fields of a line, which a {called} separates, by {how}, {what}",
                    ),
                    f'    fields = {fields}\n    return "{joined}".join({code})',
                    texts,
                )


@family("field_of_line", FAMILIES)
def field_of_line() -> Iterator[Variant]:
    places = {"second": ("1", 2), "third": ("2", 3), "fourth": ("3", 4), "second to last": ("-2", 2)}
    for called, separator in SEPARATORS.items():
        texts = _rows("", "a,b".replace(",", separator), "x, y,z ,w".replace(",", separator), "1,2,,".replace(",", separator), "no field,p,q,=|;:,/".replace(",", separator))
        for place, (index, least) in places.items():
            for missing, default in (("None", "None"), ("'?'", '"?"')):
                yield Variant(
                    ("get_field", f"{place.split()[0]}_field", "pick_column"),
                    "line",
                    (
                        f"returns the {place} field of a line whose fields a {called} separates, or {missing} if there are fewer than {least} fields",
                        f"splits the line at each {called} and returns the {place} part as it is; {missing} where the line has under {least} parts",
                        f"gives the {place} {called}-separated field of the line, {missing} if it has fewer than {least}",
                    ),
                    f'    fields = line.split("{separator}")\n    return fields[{index}] if len(fields) >= {least} else {default}',
                    texts,
                )


@family("pad_text", FAMILIES)
def pad_text() -> Iterator[Variant]:
    sides = {"on the left": ("rjust", "pad_left"), "on the right": ("ljust", "pad_right"), "on both sides, centering it": ("center", "center_text")}
    for side, (method, name) in sides.items():
        for width in (5, 8, 10, 12):
            for called, fill in (("dots", "."), ("hyphens", "-"), ("asterisks", "*"), ("zeros", "0")):
                yield Variant(
                    (name, "pad", "fill_up"),
                    "text",
                    (
                        f"returns the text padded with {called} {side} to {width} characters; a longer text stays as it is",
                        f"fills a string up with {called} {side} until it is {width} characters long, and leaves longer ones alone",
                        f"pads the text to a width of {width} with {called} {side} (as str.{method} does)",
                    ),
                    f'    return text.{method}({width}, "{fill}")',
                    _rows("", "ab", "7", "seven-7", "quite a long line of text"),
                )


@family("truncate_text", FAMILIES)
def truncate_text() -> Iterator[Variant]:
    texts = _rows("", "tiny", "The quick brown fox", "0123456789abcdefghij", "Lorem ipsum dolor sit amet, consectetur")
    for limit in (5, 6, 8, 10, 12, 15, 18):
        for called, mark in (("'...'", "..."), ("'~'", "~"), ("'>>'", ">>")):
            kept = limit - len(mark)
            yield Variant(
                ("shorten", "truncate", "limit_length"),
                "text",
                (
                    f"returns the text if it has at most {limit} characters, else its first {kept} characters followed by {called}",
                    f"cuts a text of more than {limit} characters to its first {kept} and adds {called}; shorter ones stay as they are",
                    f"shortens the text to {limit} characters at most: if it is longer, the first {kept} and then {called}",
                ),
                f'    if len(text) <= {limit}:\n        return text\n    return text[:{kept}] + "{mark}"',
                texts,
            )
            yield Variant(
                ("keep_tail", "shorten_left", "last_part"),
                "text",
                (
                    f"returns the text if it has at most {limit} characters, else {called} followed by its last {kept} characters",
                    f"cuts a text of more than {limit} characters to its last {kept} and puts {called} before them; shorter ones stay as they are",
                    f"shortens the text to {limit} characters at most: if it is longer, {called} and then the last {kept}",
                ),
                f'    if len(text) <= {limit}:\n        return text\n    return "{mark}" + text[-{kept}:]',
                texts,
            )


@family("convert_case", FAMILIES)
def convert_case() -> Iterator[Variant]:
    sources = {"snake_case": "_", "kebab-case": "-", "dotted.lower.case": ".", "slash/separated": "/", "pipe|separated": "|", "double::colon": "::"}
    targets = {
        "camelCase": ("to_camel", '    first, *rest = name.split("{s}")\n    return first + "".join(word.capitalize() for word in rest)', ""),
        "PascalCase": ("to_pascal", '    return "".join(word.capitalize() for word in name.split("{s}"))', ""),
        "CONSTANT_CASE": ("to_constant", '    return name.replace("{s}", "_").upper()', ""),
        "Title Case with spaces": ("to_title", '    return " ".join(word.capitalize() for word in name.split("{s}"))', ""),
        "snake_case": ("to_snake", '    return name.replace("{s}", "_")', "_"),
        "kebab-case": ("to_kebab", '    return name.replace("{s}", "-")', "-"),
        "dotted.lower.case": ("to_dotted", '    return name.replace("{s}", ".")', "."),
        "Train-Case": ("to_train", '    return "-".join(word.capitalize() for word in name.split("{s}"))', ""),
    }
    for source, separator in sources.items():
        for target, (name, body, same) in targets.items():
            if same == separator or (source, target) == ("snake_case", "CONSTANT_CASE"):
                continue
            yield Variant(
                (name, "convert_name", "rename"),
                "name",
                (
                    f"turns a lower-case name written as {source} into {target}",
                    f"converts a name from {source} (all lower case) to {target}",
                    f"takes a lower-case {source} name and returns it as {target}",
                ),
                body.format(s=separator),
                _rows("", "total", separator.join(["user", "name"]), separator.join(["max", "line", "length"]), separator.join(["c++", "or", "java?"])),
            )


@family("format_record", FAMILIES)
def format_record() -> Iterator[Variant]:
    numbers = {
        "with 1 decimal": "{value:.1f}",
        "with 2 decimals": "{value:.2f}",
        "with 3 decimals": "{value:.3f}",
        "without decimals, rounded,": "{value:.0f}",
        "with its sign and 1 decimal": "{value:+.1f}",
        "as a percentage (1.0 is 100%) with 1 decimal": "{value:.1%}",
        "with commas between thousands and 2 decimals": "{value:,.2f}",
    }
    layouts = {
        "name and value separated by a colon and a space": "{name}: NUMBER",
        "name and value joined by an equals sign": "{name}=NUMBER",
        "the value, a space and the name": "NUMBER {name}",
        "the name and then the value in round brackets after a space": "{name} (NUMBER)",
        "the upper-case name, a space and the value": "{name.upper()} NUMBER",
        "the value in square brackets, a space and the name": "[NUMBER] {name}",
    }
    for layout, text in layouts.items():
        for how, number in numbers.items():
            yield Variant(
                ("format_value", "show_record", "describe"),
                "name, value",
                (
                    f"returns {layout}, the value {how.rstrip(',')}",
                    f"formats a name and a number as text: {layout}, where the value is written {how.rstrip(',')}",
                    f"makes one string of {layout}; the value appears {how.rstrip(',')}",
                ),
                f'    return f"{text.replace("NUMBER", number)}"',
                (("", 0.0), ("price", 1234.5678), ("rate", 0.1239), ("delta", -3.26), ("Total", 20500.0)),
            )


@family("mark_lines", FAMILIES)
def mark_lines() -> Iterator[Variant]:
    marks = {"'> '": "> ", "'# '": "# ", "'- '": "- ", "'* '": "* ", "two spaces": "  ", "'// '": "// ", "'| '": "| "}
    texts = _rows("", "one\ntwo\nthree", "single", "first\n\nthird line\n\n  fifth", "x\ny\n\nz")
    for called, mark in marks.items():
        for which, code in (
            ("every line", '"{m}" + line for line in lines'),
            ("every line that is not empty", '"{m}" + line if line else line for line in lines'),
            ("every line but the first", 'line if i == 0 else "{m}" + line for i, line in enumerate(lines)'),
        ):
            yield Variant(
                ("mark_lines", "prefix_lines", "add_prefix"),
                "text",
                (
                    f"puts {called} before {which} of the text and leaves other lines as they are",
                    f"returns the text (lines end with a newline) with {called} at the start of {which}",
                    f"adds {called} in front of {which}; lines are split at newlines and joined by them again",
                ),
                f'    lines = text.split("\\n")\n    return "\\n".join({code.format(m=mark)})',
                texts,
            )
    for called, style in (("a dot and a space", "{i}. "), ("a bracket ')' and a space", "{i}) "), ("a colon and a space", "{i}: "), ("a tab", "{i}\\t")):
        for start in (0, 1, 5, 10, 100):
            yield Variant(
                ("number_lines", "numbered", "add_numbers"),
                "text",
                (
                    f"numbers the lines of the text from {start}: the number, {called}, then the line",
                    f"puts a number, counted from {start}, and {called} before each line of the text",
                    f"returns the text with its lines numbered, starting at {start}, and {called} after each number",
                ),
                f'    lines = text.split("\\n")\n    return "\\n".join(f"{style}{{line}}" for i, line in enumerate(lines, start={start}))',
                texts,
            )


@family("comment_lines", FAMILIES)
def comment_lines() -> Iterator[Variant]:
    marks = {"'#'": "#", "'//'": "//", "';'": ";", "'--'": "--", "'%'": "%", "'!'": "!"}
    for called, mark in marks.items():
        sample = "a = 1  M set\nM note\n\n  M indented\nb = 2M\nMM\n c # // ; -- % !"
        texts = _rows("", sample.replace("M", mark), f"{mark} only", "# x\n// x\n; x\n-- x\n% x\n! x\nx", f"last\n\n{mark}{mark} end")
        starts = f'line.strip().startswith("{mark}")'
        for what, code, name in (
            (f"drops the lines that start with {called} (after any spaces) and joins the others by newlines", f'"\\n".join(line for line in lines if not {starts})', "drop_comments"),
            (f"returns a list of the lines that start with {called} (after any spaces), stripped", f"[line.strip() for line in lines if {starts}]", "list_comments"),
            (f"cuts every line at the first {called} and joins the lines by newlines", f'"\\n".join(line.split("{mark}")[0] for line in lines)', "cut_comments"),
            (f"counts the lines that contain {called}", f'sum(1 for line in lines if "{mark}" in line)', "count_commented"),
            (f"returns a list of the lines without any {called} in them, empty lines left out", f'[line for line in lines if line and "{mark}" not in line]', "clean_lines"),
            (f"returns a list of what follows the first {called} on each line that has one, stripped", f'[line.split("{mark}", 1)[1].strip() for line in lines if "{mark}" in line]', "comment_texts"),
            (f"returns the indices (from 0) of the lines that start with {called}, without spaces before it", f'[i for i, line in enumerate(lines) if line.startswith("{mark}")]', "comment_indices"),
        ):
            yield Variant(
                (name, "read_source", "scan_lines"),
                "text",
                (
                    f"splits the text at newlines and {what}",
                    f"takes a text of several lines and {what}",
                    f"reads a text line by line (split at newlines) and {what}",
                ),
                f'    lines = text.split("\\n")\n    return {code}',
                texts,
            )


@family("text_between", FAMILIES)
def text_between() -> Iterator[Variant]:
    marks = (("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"), ("<<", ">>"), ("/*", "*/"))
    for opening, closing in marks:
        sample = "see O one C and O two C"
        texts = _rows("", f"f{opening}x{closing}", sample.replace("O", opening).replace("C", closing), f"{closing} a {opening} b", f"no (a) [b] {{c}} <d> {opening}{closing} e{closing}", "if 3 < 4" if opening != "<" else "if 3 = 4")
        for missing, default in (("None", "None"), ("an empty string", '""'), ("the whole text", "text")):
            yield Variant(
                ("before_mark", "part_before", "head_until"),
                "text",
                (
                    f"returns what stands before the last '{closing}' of the text, or {missing} if it has none",
                    f"gives the part of the text in front of its last '{closing}'; {missing} where there is no '{closing}'",
                    f"finds the last '{closing}' and returns all the text before it, {missing} if it does not occur",
                ),
                f'    end = text.rfind("{closing}")\n    if end < 0:\n        return {default}\n    return text[:end]',
                texts,
            )
            yield Variant(
                ("outer_text", "widest_between", "span_inside"),
                "text",
                (
                    f"returns what stands between the first '{opening}' and the last '{closing}', or {missing} if one is missing or the last '{closing}' comes first",
                    f"gives the text from the first '{opening}' to the very last '{closing}', both left out; {missing} if they are not there in this order",
                    f"finds the first '{opening}' and the last '{closing}' of the text and returns all between them, {missing} where there is no such pair",
                ),
                f'    start = text.find("{opening}")\n    end = text.rfind("{closing}")\n'
                f"    if start < 0 or end < start:\n        return {default}\n    return text[start + {len(opening)}:end]",
                texts,
            )
            yield Variant(
                ("after_mark", "rest_after", "tail_from"),
                "text",
                (
                    f"returns what follows the last '{opening}' of the text, or {missing} if it has none",
                    f"gives the part of the text behind its last '{opening}'; {missing} where there is no '{opening}'",
                    f"finds the last '{opening}' and returns the rest of the text after it, {missing} if it does not occur",
                ),
                f'    start = text.rfind("{opening}")\n    if start < 0:\n        return {default}\n    return text[start + {len(opening)}:]',
                texts,
            )
