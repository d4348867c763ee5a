"""Unseen families on numbers, lists and dicts: never trained on, so they measure what carries over to new tasks."""

# ruff: noqa: E501 (the wishes are prose; broken lines would hide how they differ)

from __future__ import annotations

from collections.abc import Iterator

from codetune.data.basics.family import Family, Variant, family

FAMILIES: list[Family] = []


@family("insert_every", FAMILIES, unseen=True)
def insert_every() -> Iterator[Variant]:
    values = {"0": "0", "-1": "-1", "None": "None", "its own negative": "-x"}
    for every in range(2, 7):
        which = f"every {every} items"
        for shown, value in values.items():
            for at_end, test in (("also at the end of the list", ""), ("but not at the end of the list", " and i < len(items)")):
                inserted = "the negative of the last of them" if value == "-x" else shown
                yield Variant(
                    ("insert_every", "add_between", "interleave"),
                    "items",
                    (
                        f"returns the list of numbers with {inserted} inserted after {which}, {at_end}",
                        f"copies a list of numbers and puts {inserted} behind {which}, {at_end}",
                        f"gives a new list that has {inserted} after {which} of the numbers, {at_end}",
                    ),
                    f"    result = []\n    for i, x in enumerate(items, start=1):\n        result.append(x)\n        if i % {every} == 0{test}:\n            result.append({value})\n    return result",
                    (([],), ([7],), ([3, 8, 4, 1],), ([5, 2, 9, 6, 7],), ([6, 1, 7, 2, 9, 4, 8, 3, 5, 10, 12, 11],)),
                )


@family("dict_changes", FAMILIES, unseen=True)
def dict_changes() -> Iterator[Variant]:
    groups = {
        "are new (in new only) and have a positive value": "k not in old and new[k] > 0",
        "have another value in new than in old": "k in old and old[k] != new[k]",
        "have the same value in both": "k in old and old[k] == new[k]",
        "are in both with a larger value in new": "k in old and new[k] > old[k]",
        "are in both with a smaller value in new": "k in old and new[k] < old[k]",
        "are new or have another value than in old": "old.get(k) != new[k]",
    }
    outputs = {
        "a sorted list of the keys": ("changed_keys", "sorted(k for k in new if {t})"),
        "the number of keys": ("count_changes", "sum(1 for k in new if {t})"),
        "a dict of the keys and their values in new, for those keys": ("changes", "{{k: new[k] for k in new if {t}}}"),
        "the sum of the values in new of the keys": ("changed_total", "sum(new[k] for k in new if {t})"),
        "the alphabetically first key, or None if there is none, of the keys": ("first_change", "min((k for k in new if {t}), default=None)"),
    }
    for group, test in groups.items():
        for output, (name, code) in outputs.items():
            yield Variant(
                (name, "compare_dicts", "what_changed"),
                "old, new",
                (
                    f"returns {output} that {group}, for two dicts of numbers",
                    f"compares two dicts of numbers, old and new, and gives {output} that {group}",
                    f"takes an old and a new dict with numbers as values and returns {output} that {group}",
                ),
                f"    return {code.format(t=test)}",
                (
                    ({}, {}),
                    ({"a": 1, "b": 2, "c": 3}, {"c": 5, "b": 2, "d": 4, "a": 0}),
                    ({"x": 7}, {"y": 3, "x": 7, "w": 2}),
                    ({"p": 9, "q": 8, "a": 7, "s": 6}, {"s": 1, "a": 7, "q": 10, "p": 3}),
                    ({"m": 4, "n": 2}, {"n": 3, "m": 6, "l": -1}),
                ),
            )


@family("sort_labels", FAMILIES, unseen=True)
def sort_labels() -> Iterator[Variant]:
    scales = ("S M L XL", "low medium high", "todo doing done", "gold silver bronze", "mon tue wed thu fri", "king queen jack", "never rarely often always")
    for scale in scales:
        order = scale.split()
        first, second, *_, last = order
        for what, code in (
            ("with other labels after them in their old order", "sorted(labels, key=lambda x: order.index(x) if x in order else len(order))"),
            ("with other labels before them in their old order", "sorted(labels, key=lambda x: order.index(x) if x in order else -1)"),
            ("leaving out other labels", "[x for x in order for label in labels if label == x]"),
            ("each label once and leaving out other labels", "[x for x in order if x in labels]"),
        ):
            yield Variant(
                ("sort_labels", "in_order", "arrange"),
                "labels",
                (
                    f"returns the labels of a list sorted in the order {', '.join(order)}, {what}",
                    f"sorts a list of labels by their places in the series {', '.join(order)}, {what}",
                    f"arranges labels so that they follow the order {' < '.join(order)}, {what}",
                ),
                f"    order = {order!r}\n    return {code}".replace("'", '"'),
                (([],), ([last, first],), ([second, "zzz", first, second],), (["?", last, "", second, last],), ([last, first, "b", second, "a", first],)),
            )


@family("share_tasks", FAMILIES, unseen=True)
def share_tasks() -> Iterator[Variant]:
    crews = (["ann", "bob"], ["cy", "di", "eve"], ["red", "blue", "green", "white"], ["a", "b", "c", "d", "e"], ["mon", "tue", "wed", "thu", "fri", "sat"])
    for crew in crews:
        names = f"{', '.join(crew[:-1])} and {crew[-1]}"
        for rule, turn in (
            ("in turn, starting again with the first after the last", "crew[i % len(crew)]"),
            ("in turn, then backwards (the last one twice in a row), then forwards again and so on", "(crew + crew[::-1])[i % (2 * len(crew))]"),
        ):
            for result, name, code in (
                ("the list of (task, name) pairs", "assign_tasks", f"[(task, {turn}) for i, task in enumerate(tasks)]"),
                ("a dict from each name to the list of its tasks", "tasks_by_name", f"{{name: [task for i, task in enumerate(tasks) if {turn} == name] for name in crew}}"),
                ("a dict from each name to the number of its tasks", "task_counts", f"{{name: sum(1 for i in range(len(tasks)) if {turn} == name) for name in crew}}"),
            ):
                yield Variant(
                    (name, "share_tasks", "plan_work"),
                    "tasks",
                    (
                        f"gives the tasks of a list one by one to {names} {rule}, and returns {result}",
                        f"returns {result} when {names} get the tasks of a list {rule}",
                        f"shares a list of tasks among {names}, one task each {rule}; the result is {result}",
                    ),
                    f"    crew = {crew!r}\n    return {code}".replace("'", '"'),
                    tuple((letters.split(),) for letters in ("", "dig", "p q r", "a b c d e f g", "k l m n o p q r s t u v w x y z")),
                )


@family("keep_ledger", FAMILIES, unseen=True)
def keep_ledger() -> Iterator[Variant]:
    rules = {
        "amounts that would make the balance negative are skipped": "        if balance + amount < 0:\n            continue\n        balance += amount\n",
        "the first amount that would make the balance negative ends the processing": "        if balance + amount < 0:\n            break\n        balance += amount\n",
        "a balance below 0 is set to 0": "        balance = max(balance + amount, 0)\n",
        "every withdrawal (negative amount) costs a fee of 1 besides": "        balance += amount - (amount < 0)\n",
        "the balance never rises above 100, what exceeds it is lost": "        balance = min(balance + amount, 100)\n",
    }
    for start in (0, 10, 50):
        for rule, body in rules.items():
            head = f"    balance = {start}\n"
            loop = "    for amount in amounts:\n" + body
            for result, name, code in (
                ("the final balance", "final_balance", head + loop + "    return balance"),
                ("the list of balances, one after each amount that was processed", "balances", head + "    history = []\n" + loop + "        history.append(balance)\n    return history"),
            ):
                yield Variant(
                    (name, "ledger", "process"),
                    "amounts",
                    (
                        f"starts with a balance of {start}, adds the amounts one by one, where {rule}, and returns {result}",
                        f"returns {result} of an account that opens with {start} and gets the amounts in order; {rule}",
                        f"keeps an account that begins at {start}: each amount is added, {rule}; the result is {result}",
                    ),
                    code,
                    (([],), ([20, -5, -40, 8],), ([-15, 30, -3, -60, 5],), ([70, 45, -10, -200, 20],), ([-11, -1, 60, 2],)),
                )


@family("shrink_steps", FAMILIES, unseen=True)
def shrink_steps() -> Iterator[Variant]:
    rules = {
        "is halved, rounded down": "n // 2",
        "is divided by 3, rounded down": "n // 3",
        "loses its last decimal digit": "n // 10",
        "is halved if even and reduced by 1 if odd": "n // 2 if n % 2 == 0 else n - 1",
        "is divided by 3 if that leaves no remainder and reduced by 1 if not": "n // 3 if n % 3 == 0 else n - 1",
        "is reduced by the number of its decimal digits": "n - len(str(n))",
        "is reduced by its last decimal digit, or by 1 if that is 0": "n - (n % 10 or 1)",
        "is reduced by its largest decimal digit": "n - max(int(d) for d in str(n))",
        "is reduced by its first decimal digit": "n - int(str(n)[0])",
    }
    for rule, code in rules.items():
        for result, name, body in (
            ("how many steps that takes", "count_steps", f"    steps = 0\n    while n > 0:\n        n = {code}\n        steps += 1\n    return steps"),
            ("the list of all values from n down to 0", "countdown", f"    values = [n]\n    while n > 0:\n        n = {code}\n        values.append(n)\n    return values"),
            ("the sum of all values that n takes, its first one included", "sum_of_values", f"    total = n\n    while n > 0:\n        n = {code}\n        total += n\n    return total"),
        ):
            yield Variant(
                (name, "shrink", "run_down"),
                "n",
                (
                    f"repeats until the whole number n is 0: n {rule}; and returns {result}",
                    f"returns {result} when n {rule}, again and again, until it is 0 (n is not negative)",
                    f"takes a whole number n >= 0 which {rule} in each step until 0 is reached, and gives {result}",
                ),
                body,
                ((0,), (1,), (9,), (28,), (61,), (105,)),
            )


@family("vote_winner", FAMILIES, unseen=True)
def vote_winner() -> Iterator[Variant]:
    needs = {
        "the most votes": "",
        "the most votes and at least 2 of them": "top < 2",
        "the most votes and at least 3 of them": "top < 3",
        "more than half of all votes": "top * 2 <= len(votes)",
        "at least half of all votes": "top * 2 < len(votes)",
        "at least two thirds of all votes": "top * 3 < len(votes) * 2",
    }
    ties = {
        "the alphabetically first of several such names wins": "min(winners)",
        "the alphabetically last of several such names wins": "max(winners)",
        "the first to appear of several such names wins": "winners[0]",
        "several such names give 'tie'": 'winners[0] if len(winners) == 1 else "tie"',
        "several such names are joined by '/', in order of appearance": '"/".join(winners)',
    }
    ballots = ("", "bo", "cy al cy al", "al cy cy al", "al bo cy bo al bo bo cy al bo bo cy bo", "bo di cy al cy bo al bo al cy")
    votes = tuple((ballot.split(),) for ballot in ballots)
    for need, test in needs.items():
        sole = need in ("more than half of all votes", "at least two thirds of all votes")
        for tie, code in ties.items():
            if sole and code != "winners[0]":
                continue  # one name at most has that many, so that a rule for ties makes no difference
            for nobody in ("None", '""'):
                shown = "None" if nobody == "None" else "an empty string"
                rejected = f"not votes or {test}" if test else "not votes"
                rule = "" if sole else f"; {tie}"
                yield Variant(
                    ("winner", "elect", "count_votes"),
                    "votes",
                    (
                        f"returns the name with {need} in a list of votes (one name each){rule}, and {shown} if nobody has that",
                        f"finds who has {need}, given a list with a name per vote{rule}; the result is {shown} if there is nobody",
                        f"counts votes and gives the name that got {need}, or {shown} if there is none{rule}",
                    ),
                    f"    top = max((votes.count(v) for v in votes), default=0)\n    if {rejected}:\n        return {nobody}\n    winners = [v for v in dict.fromkeys(votes) if votes.count(v) == top]\n    return {code}",
                    votes,
                )


@family("seat_labels", FAMILIES, unseen=True)
def seat_labels() -> Iterator[Variant]:
    forms = {
        "the letter of the row (A for the first) and then the number of the seat, as in 'B3'": ("seat_label", 'return chr(ord("A") + row) + str(seat + 1)'),
        "the number of the seat and then the letter of the row (A for the first), as in '3B'": ("seat_code", 'return str(seat + 1) + chr(ord("A") + row)'),
        "'row 2 seat 3' (both counted from 1)": ("seat_text", 'return f"row {row + 1} seat {seat + 1}"'),
        "a tuple of row and seat, both counted from 1": ("row_and_seat", "return row + 1, seat + 1"),
    }
    for width in (2, 3, 4, 5, 6, 8, 10):
        for form, (name, code) in forms.items():
            yield Variant(
                (name, "find_seat", "locate"),
                "n",
                (
                    f"returns the place of ticket n, counted from 0, in rows of {width} seats that are filled one after the other: {form}",
                    f"tells where ticket number n (the first is 0) sits if each row has {width} seats: {form}",
                    f"turns a ticket number (0 is seat 1 of the first row, and every row has {width} seats) into {form}",
                ),
                f"    row, seat = divmod(n, {width})\n    {code}",
                ((0,), (1,), (5,), (17,), (26,), (39,)),
            )
