"""Families on dates and clock times, given as text: shifts, formats, filters, ranges, weekdays, clocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import permutations, product

from codetune.data.basics.family import Family, Variant, family

FAMILIES: list[Family] = []

SHIFTS = (
    ("1 day", "days=1"),
    ("10 days", "days=10"),
    ("30 days", "days=30"),
    ("45 days", "days=45"),
    ("100 days", "days=100"),
    ("2 weeks", "weeks=2"),
    ("6 weeks", "weeks=6"),
)
SHIFT_RESULTS = (
    ("date", "an ISO date", ".isoformat()"),
    ("text", "a date like 31.12.2024", '.strftime("%d.%m.%Y")'),
    ("day_of_year", "its day of the year (1 for January 1)", ".timetuple().tm_yday"),
)


@family("dates_shift", FAMILIES)
def shift() -> Iterator[Variant]:
    directions = (("after", "+", "adds", "to"), ("before", "-", "subtracts", "from"))
    for (amount, delta), (side, sign, verb, word), (result, form, code) in product(SHIFTS, directions, SHIFT_RESULTS):
        yield Variant(
            names=(f"{result}_{side}", f"shifted_{result}", f"{result}_{amount.replace(' ', '_')}_{side}"),
            args="day",
            wishes=(
                f"returns the date {amount} {side} the ISO date day, as {form}",
                f"{verb} {amount} {word} the ISO date day and returns the new date as {form}",
                f"takes an ISO date, goes to the date {amount} {side} it and returns that as {form}",
            ),
            body=f"    shifted = date.fromisoformat(day) {sign} timedelta({delta})\n    return shifted{code}",
            inputs=(("2024-02-29",), ("2024-01-01",), ("2023-12-31",), ("2023-02-28",), ("1999-07-15",)),
            imports="from datetime import date, timedelta",
        )


FORMATS = (
    ("DD.MM.YYYY", "%d.%m.%Y"),
    ("MM/DD/YYYY", "%m/%d/%Y"),
    ("YYYY-MM-DD", "%Y-%m-%d"),
    ("YYYYMMDD", "%Y%m%d"),
    ("DD/MM/YY (YY from 69 on means 19YY)", "%d/%m/%y"),
    ("YYYY/MM/DD", "%Y/%m/%d"),
    ("YYYY.DDD (DDD is the day of the year)", "%Y.%j"),
    ("DDD-YYYY (DDD is the day of the year)", "%j-%Y"),
)
FORMAT_DAYS = (date(2024, 2, 29), date(2023, 12, 31), date(2001, 1, 9), date(1987, 11, 4))


@family("dates_formats", FAMILIES)
def formats() -> Iterator[Variant]:
    for (source, parse), (target, write) in permutations(FORMATS, 2):
        if [c for c in parse if c.isalpha()] == [c for c in write if c.isalpha()]:
            continue  # replacing the separators would do
        yield Variant(
            names=("reformat_date", "convert_date", "change_date_format"),
            args="text",
            wishes=(
                f'converts a date from the form {source} to the form {target}, and "" to ""',
                f"rewrites a date given as {source} so that it reads {target}; an empty string stays empty",
                f"takes text with a date written {source} and returns it written {target} (an empty text is returned as it is)",
            ),
            body=f'    if not text:\n        return ""\n    return datetime.strptime(text, "{parse}").strftime("{write}")',
            inputs=(("",), *((day.strftime(parse),) for day in FORMAT_DAYS)),
            imports="from datetime import datetime",
        )


DAY_TESTS = (  # name, words after "dates", test of the date {d}
    ("weekend", "on a Saturday or Sunday", "{d}.weekday() >= 5"),
    ("midweek", "on Tuesday to Thursday", "1 <= {d}.weekday() <= 3"),
    ("monday", "on a Monday", "{d}.weekday() == 0"),
    ("wednesday", "on a Wednesday", "{d}.weekday() == 2"),
    ("friday", "on a Friday", "{d}.weekday() == 4"),
    ("sunday", "on a Sunday", "{d}.weekday() == 6"),
    ("even", "on an even day of the month", "{d}.day % 2 == 0"),
    ("late", "after the 15th of their month", "{d}.day > 15"),
    ("early", "on the first ten days of a month", "{d}.day <= 10"),
    ("tens", "on day 10, 20 or 30 of a month", "{d}.day % 10 == 0"),
    ("summer", "in June, July or August", "6 <= {d}.month <= 8"),
    ("winter", "in December, January or February", "{d}.month in (12, 1, 2)"),
    ("old", "before the year 2000", "{d}.year < 2000"),
)
DAY_LISTS: tuple[list[str], ...] = (
    [],
    ["2024-01-01", "2023-12-20"],
    ["2024-06-08", "1999-08-10", "2021-03-31", "2024-05-10"],
    ["2022-07-06", "1998-12-13", "2024-02-18", "2020-10-30", "2023-04-16", "1997-03-05"],
    ["2019-09-16", "2000-02-02", "2023-11-17", "1997-05-21", "2022-08-21", "2018-01-08", "2020-02-20", "1995-10-06"],
)
FILTER_RESULTS = (
    (
        "list",
        ("returns a list of the dates", "keeps in a list, in their order, the dates", "lists the dates"),
        "[day for day in days if {test}]",
        "",
    ),
    (
        "count",
        ("counts the dates", "returns the number of dates", "computes how many there are of the dates"),
        "sum(1 for day in days if {test})",
        "",
    ),
    (
        "earliest",
        ("returns the earliest of the dates", "finds the first in time of the dates", "returns the oldest of the dates"),
        "min((day for day in days if {test}), default=None)",
        ", or None if there is none",
    ),
    (
        "drop",
        ("removes the dates", "drops, and returns the others as a list, the dates", "returns a list without the dates"),
        "[day for day in days if not ({test})]",
        "",
    ),
)


@family("dates_filter", FAMILIES)
def filter_dates() -> Iterator[Variant]:
    for (kind, which, test), (result, starts, code, edge) in product(DAY_TESTS, FILTER_RESULTS):
        yield Variant(
            names=(f"{result}_{kind}_days", f"{kind}_{result}", f"{result}_dates"),
            args="days",
            wishes=tuple(f"{start} {which} in days, a list of ISO dates{edge}" for start in starts),
            body=f"    return {code.format(test=test.format(d='date.fromisoformat(day)'))}",
            inputs=tuple((days,) for days in DAY_LISTS),
            imports="from datetime import date",
        )


RANGE_RESULTS = (
    ("count", "counts the days", "returns how many days there are", "sum(1 for day in days if {test})", True),
    ("count", "counts the days", "returns how many days there are", "sum(1 for day in days if {test})", False),
    ("list", "lists as ISO dates the days", "returns a list of ISO dates, the days", "[day.isoformat() for day in days if {test}]", True),
    ("list", "lists as ISO dates the days", "returns a list of ISO dates, the days", "[day.isoformat() for day in days if {test}]", False),
)


@family("dates_between", FAMILIES)
def between() -> Iterator[Variant]:
    for (kind, which, test), (result, start, other, code, included) in product(DAY_TESTS[:10], RANGE_RESULTS):
        end = "end included" if included else "end not included"
        yield Variant(
            names=(f"{result}_{kind}_days", f"{kind}_days_between", f"{result}_days"),
            args="start, end",
            wishes=(
                f"{start} {which} from the ISO date start to the ISO date end, {end}",
                f"{other} {which} between the ISO dates start and end (start included, {end})",
                f"goes through the days from start to end, two ISO dates, {end}, and {start} {which}",
            ),
            body=(
                "    first, last = date.fromisoformat(start), date.fromisoformat(end)\n"
                f"    days = [first + timedelta(days=i) for i in range((last - first).days{' + 1' if included else ''})]\n"
                f"    return {code.format(test=test.format(d='day'))}"
            ),
            inputs=(
                ("2024-05-02", "2024-05-01"),
                ("2024-01-01", "2024-01-01"),
                ("2024-02-16", "2024-03-03"),
                ("2023-02-05", "2023-02-20"),
                ("2021-04-05", "2021-04-14"),
                ("2021-12-21", "2022-01-07"),
            ),
            imports="from datetime import date, timedelta",
        )


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WEEKDAY_RESULTS = (  # name, words, days between as code, how the result follows from them
    ("next", "the first {w} after day, as an ISO date", "({i} - d.weekday() - 1) % 7 + 1", "(d + timedelta(days={n})).isoformat()"),
    ("this_or_next", "the first {w} on or after day, as an ISO date", "({i} - d.weekday()) % 7", "(d + timedelta(days={n})).isoformat()"),
    ("previous", "the last {w} before day, as an ISO date", "(d.weekday() - {i} - 1) % 7 + 1", "(d - timedelta(days={n})).isoformat()"),
    ("this_or_last", "the last {w} on or before day, as an ISO date", "(d.weekday() - {i}) % 7", "(d - timedelta(days={n})).isoformat()"),
    ("days_until", "the number of days from day to the next {w} (0 if it is a {w})", "({i} - d.weekday()) % 7", "{n}"),
    ("days_since", "the number of days from the last {w} to day (0 if it is a {w})", "(d.weekday() - {i}) % 7", "{n}"),
)


@family("dates_weekdays", FAMILIES)
def weekdays() -> Iterator[Variant]:
    for (i, weekday), (result, words, days, code) in product(enumerate(WEEKDAYS), WEEKDAY_RESULTS):
        what = words.format(w=weekday)
        same = (date(2024, 2, 26) + timedelta(days=i)).isoformat()
        expression = code.format(n=days.format(i=i))
        yield Variant(
            names=(f"{result}_{weekday.lower()}", f"{weekday.lower()}_{result}", f"get_{result}_{weekday.lower()}"),
            args="day",
            wishes=(
                f"returns {what}; day is an ISO date",
                f"takes an ISO date day and returns {what}",
                f"computes for an ISO date day {what}",
            ),
            body=f"    d = date.fromisoformat(day)\n    return {expression}",
            inputs=((same,), ("2023-12-30",), ("2024-04-30",), ("2021-06-15",), ("1999-12-31",), ("2020-03-02",)),
            imports="from datetime import date, timedelta" if "timedelta" in expression else "from datetime import date",
        )


CLOCK_RESULTS = (
    ("clock", "as HH:MM", 'f"{total // 60:02d}:{total % 60:02d}"'),
    ("minutes", "as minutes since midnight", "total"),
    ("pair", "as a tuple of hours and minutes", "divmod(total, 60)"),
)


@family("dates_clock", FAMILIES)
def clock() -> Iterator[Variant]:
    directions = (("after", "+", "later"), ("before", "-", "earlier"))
    for minutes, (side, sign, adverb), (result, form, code) in product((5, 15, 45, 90, 125, 600, 700), directions, CLOCK_RESULTS):
        yield Variant(
            names=(f"{result}_{adverb}", f"time_{side}", f"shift_{result}"),
            args="clock",
            wishes=(
                f"returns the time {minutes} minutes {side} clock, a time like 09:30, {form}; midnight is wrapped around",
                f"takes a time of day written HH:MM and returns the time {minutes} minutes {adverb} (modulo 24 hours) {form}",
                f"computes what the clock shows {minutes} minutes {side} the given HH:MM time, {form}, with 00:00 following 23:59",
            ),
            body=(
                '    hours, minutes = map(int, clock.split(":"))\n'
                f"    total = (hours * 60 + minutes {sign} {minutes}) % 1440\n    return {code}"
            ),
            inputs=(("00:00",), ("23:59",), ("09:30",), ("12:05",), ("17:48",)),
        )
