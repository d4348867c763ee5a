"""Equal and similar texts are found, whatever the shards, the order and the memory, and the best of each cluster stays."""

from __future__ import annotations

import itertools
import os
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codetune.data.corpus import _hash
from codetune.data.similar import duplicates, minhash, shingle_sets
from codetune.data.similar.duplicates import Clusters, Duplicates, find_duplicates, near_pairs
from codetune.data.similar.minhash import Fingerprints, exact_hash, fingerprint, load_fingerprints, save_fingerprints, settings_of
from codetune.data.similar.shingle_sets import ShingleSets
from codetune.data_recipe import DuplicatesConfig
from codetune.errors import UserError

CONFIG = DuplicatesConfig()


def saved(folder: Path, texts: Sequence[str], parts: int = 1, config: DuplicatesConfig = CONFIG) -> list[Path]:
    """Fingerprints of the texts, cut into so many shards."""
    folder.mkdir(exist_ok=True)
    edges = [len(texts) * part // parts for part in range(parts + 1)]
    paths = [folder / f"{parts}-{part}.fingerprints" for part in range(parts)]
    for path, (first, last) in zip(paths, itertools.pairwise(edges), strict=True):
        save_fingerprints(path, fingerprint(texts[first:last], config))
    return paths


def found(paths: list[Path], ranks: Sequence[float] | None = None, config: DuplicatesConfig = CONFIG, **more: int) -> Duplicates:
    sizes = [load_fingerprints(path).texts for path in paths]
    flat = np.zeros(sum(sizes)) if ranks is None else np.array(ranks, dtype=np.float64)
    return find_duplicates(paths, np.split(flat, np.cumsum(sizes)[:-1]), config, **more)


def fate(result: Duplicates) -> list[tuple[int, str]]:
    """For each text the number of the one that stays for it, and why."""
    return [
        (int(member), "stays" if stays else "exact" if exact else "near")
        for part in result.parts
        for stays, member, exact in zip(part.stays, part.member, part.exact, strict=True)
    ]


def naive_set(text: str, length: int = 5) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower(), re.ASCII)
    return {tuple(words[at : at + length]) for at in range(max(1, len(words) - length + 1))} if words else set()


def naive_jaccard(left: str, right: str) -> float:
    some, more = naive_set(left), naive_set(right)
    return len(some & more) / len(some | more)


def code(rng: random.Random, words: int) -> str:
    return " ".join(f"name{rng.randrange(500)}" for _ in range(words))


def edited(rng: random.Random, text: str, edits: int) -> str:
    words = text.split()
    for _ in range(edits):
        words[rng.randrange(len(words))] = f"other{rng.randrange(10**6)}"
    return " ".join(words)


def sample(seed: int, texts: int, words: tuple[int, int]) -> list[str]:
    """Texts and, of two thirds of them, copies with words replaced, of all similarities; shuffled."""
    rng = random.Random(seed)
    originals = [code(rng, rng.randint(*words)) for _ in range(texts)]
    copies = [edited(rng, text, rng.randint(0, 1 + len(text.split()) // 12)) for text in originals for _ in range(2)]
    everything = originals + copies
    rng.shuffle(everything)
    return everything


def exact_pairs(texts: list[str], threshold: float) -> set[tuple[int, int]]:
    """All pairs at or above the threshold, by their words."""
    having: dict[tuple[str, ...], list[int]] = {}
    for number, text in enumerate(texts):
        for run in naive_set(text):
            having.setdefault(run, []).append(number)
    meet = {pair for numbers in having.values() for pair in itertools.combinations(numbers, 2)}
    return {(left, right) for left, right in meet if naive_jaccard(texts[left], texts[right]) >= threshold}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=40).map(" ".join), min_size=2, max_size=6), st.integers(1, 3))
def test_similarity_is_that_of_the_sets(tmp_path: Path, texts: list[str], parts: int) -> None:
    sets = ShingleSets(saved(tmp_path, texts, parts), CONFIG)
    pairs = list(itertools.product(range(len(texts)), repeat=2))
    left, right = (np.array(side) for side in zip(*pairs, strict=True))
    assert sets.sizes.tolist() == [len(naive_set(text)) for text in texts]
    assert sets.jaccard(left, right).tolist() == [naive_jaccard(texts[some], texts[more]) for some, more in pairs]


def test_similarity_does_not_depend_on_how_many_are_compared_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = ShingleSets(saved(tmp_path, sample(1, 20, (5, 60)), 3), CONFIG)
    left, right = np.repeat(np.arange(60), 60), np.tile(np.arange(60), 60)
    whole = sets.jaccard(left, right)
    monkeypatch.setattr(shingle_sets, "_CHUNK_SHINGLES", 70)
    assert np.array_equal(sets.jaccard(left, right), whole)


@pytest.mark.parametrize("words", [(5, 12), (13, 60), (61, 400), (1500, 2500)])
@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_pairs_are_those_of_a_comparison_of_all_with_all(tmp_path: Path, words: tuple[int, int], threshold: float) -> None:
    texts = sample(words[0], 25 if words[0] > 1000 else 250, words)
    config = DuplicatesConfig(threshold=threshold)
    left, right, _ = near_pairs(saved(tmp_path, texts, 2, config), config)
    ours, expected = set(zip(left.tolist(), right.tolist(), strict=True)), exact_pairs(texts, threshold)
    assert len(expected) >= 5
    assert ours <= expected  # what is given was compared
    assert len(ours) / len(expected) >= 0.995


def test_results_do_not_depend_on_shards_memory_or_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*sample(3, 150, (3, 80)), "", " ", "x", "+"]
    ranks = [random.Random(number).random() for number in range(len(texts))]
    whole = fate(found(saved(tmp_path / "a", texts), ranks))
    assert {why for _, why in whole} == {"stays", "exact", "near"}
    assert fate(found(saved(tmp_path / "a", texts, 5), ranks)) == whole
    assert fate(found(saved(tmp_path / "a", texts, 5), ranks, memory_bytes=1000)) == whole
    monkeypatch.setattr(minhash, "_GROUP_CHARACTERS", 500)
    monkeypatch.setattr(minhash, "_SKETCHED", 7)
    assert fate(found(saved(tmp_path / "b", texts, 2), ranks)) == whole


def test_small_memory_means_many_ranges(tmp_path: Path) -> None:
    sets = ShingleSets(saved(tmp_path, sample(3, 100, (20, 40)), 2), CONFIG)
    active = np.ones(sets.texts, dtype=np.bool_)
    ranges = list(duplicates._sorted_keys(sets, 0, active, 1000))
    (whole,) = duplicates._sorted_keys(sets, 0, active, 1 << 20)
    assert len(ranges) >= 9
    assert max(map(len, ranges)) < 80
    assert np.array_equal(np.concatenate(ranges), whole)


def test_the_highest_rank_stays_and_of_equals_the_first(tmp_path: Path) -> None:
    text, other = code(random.Random(5), 60), code(random.Random(6), 60)
    near = text + " more"
    texts = [near, other, text, text.replace(" ", "\n\t"), other, "alone"]
    paths = saved(tmp_path, texts, 3)
    assert fate(found(paths)) == [(0, "stays"), (1, "stays"), (0, "near"), (0, "near"), (1, "exact"), (5, "stays")]
    ranked = found(paths, [1, 0, 2, 3, 7.5, 0])
    assert fate(ranked) == [(3, "near"), (4, "exact"), (3, "exact"), (3, "stays"), (4, "stays"), (5, "stays")]
    assert np.concatenate([part.exact for part in ranked.parts]).tolist() == [False, True, True, False, False, False]  # of what goes
    assert [ranked.place(number) for number in (0, 3, 5)] == [(0, 0), (1, 1), (2, 1)]


def test_a_test_split_of_higher_rank_keeps_its_texts(tmp_path: Path) -> None:
    rng = random.Random(8)
    train = [code(rng, 50) for _ in range(20)]
    test = [edited(rng, text, 1) for text in train[:5]]
    result = found(saved(tmp_path, train + test, 5), [0.0] * 20 + [1.0] * 5)
    assert np.concatenate([part.stays for part in result.parts]).tolist() == [False] * 5 + [True] * 20


def test_a_chain_is_one_cluster(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(200)]
    chain = [" ".join(words[shift : shift + 100]) for shift in (0, 12, 24)]
    assert [naive_jaccard(chain[0], other) >= 0.7 for other in chain] == [True, True, False]
    assert fate(found(saved(tmp_path, chain))) == [(0, "stays"), (0, "near"), (0, "near")]


@pytest.mark.parametrize(
    ("exact", "near", "expected"),
    [
        (True, True, ["stays", "exact", "near", "stays", "exact"]),
        (True, False, ["stays", "exact", "stays", "stays", "exact"]),
        (False, True, ["stays", "near", "near", "stays", "stays"]),
        (False, False, ["stays"] * 5),
    ],
)
def test_either_kind_can_be_switched_off(tmp_path: Path, exact: bool, near: bool, expected: list[str]) -> None:
    texts = ["a b c d e f g", "a  b c d e f g", "(a) b, c, d, e, f, g", "+-", "+ -"]  # the last two have no words
    config = DuplicatesConfig(exact=exact, near=near)
    assert [why for _, why in fate(found(saved(tmp_path, texts, 1, config), config=config))] == expected


def test_empty_and_very_short_texts(tmp_path: Path) -> None:
    texts = ["", " \n", "word", "Word", "word word", "a b c d", "a b c d e", "d c b a", "A, b, c; d"]
    assert fate(found(saved(tmp_path, texts, 2))) == [
        (0, "stays"), (0, "exact"), (2, "stays"), (2, "near"), (4, "stays"), (5, "stays"), (6, "stays"), (7, "stays"), (5, "near"),
    ]  # fmt: skip
    assert found([]).parts == ()
    assert [part.stays.tolist() for part in found(saved(tmp_path, [], 2)).parts] == [[], []]


def test_many_files_with_one_header_cost_no_square(tmp_path: Path) -> None:
    rng = random.Random(11)
    header = code(rng, 150)
    texts = [f"{header} {code(rng, 100)}" for _ in range(1500)]  # all meet in many bands, none are alike
    result = found(saved(tmp_path, [*texts, edited(rng, texts[7], 3)]))
    assert fate(result)[-1] == (7, "near")
    assert len({member for member, _ in fate(result)}) == 1500
    assert 3000 < result.compared < 1500 * 51 * 7 / 4  # a quarter of the bands are of the header alone; all pairs would be 1.1 million
    copies = found(saved(tmp_path, [f"{header} {number}" for number in range(1500)]))
    assert sum(part.stays.sum() for part in copies.parts) == 1
    assert copies.compared < 2 * 1500


def test_a_sample_of_large_sets_rejects_only_what_is_far_below(tmp_path: Path) -> None:
    texts = sample(9, 20, (600, 3000))
    sets = ShingleSets(saved(tmp_path, texts, 2), CONFIG)
    left, right = np.repeat(np.arange(len(texts)), len(texts)), np.tile(np.arange(len(texts)), len(texts))
    similarity = sets.jaccard(left, right)
    for threshold in (0.5, 0.7, 0.9):
        assert np.array_equal(sets.alike(left, right, threshold), similarity >= threshold)


def test_copies_are_not_compared(tmp_path: Path) -> None:
    result = found(saved(tmp_path, [code(random.Random(1), 50)] * 300))
    assert (result.compared, int(result.parts[0].stays.sum())) == (0, 1)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40), st.integers(1, 5))
def test_clusters_are_connected_components(edges: list[tuple[int, int]], steps: int) -> None:
    clusters = Clusters(31)
    for step in range(steps):
        some = edges[step::steps]
        clusters.merge(np.array([left for left, _ in some], dtype=np.int64), np.array([right for _, right in some], dtype=np.int64))
    expected = list(range(31))
    for _ in range(31):
        for left, right in edges:
            expected[left] = expected[right] = min(expected[left], expected[right])
    assert clusters.roots.tolist() == expected


def test_a_long_chain_of_edges_is_merged(tmp_path: Path) -> None:
    clusters = Clusters(100_000)
    clusters.merge(np.arange(99_999), np.arange(1, 100_000))
    assert not clusters.roots.any()


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("ab \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u2003\u2028\u3000é."), max_size=30))
def test_the_exact_hash_is_of_the_text_without_white_space(text: str) -> None:
    assert exact_hash(text.encode()).hex() == _hash(text)[:32]


def test_borrowing_is_the_same_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = sample(4, 60, (5, 400))
    usual = fingerprint(texts, CONFIG).bands
    for few in (0, 257):
        monkeypatch.setattr(minhash, "_FEW", few)
        assert np.array_equal(fingerprint(texts, CONFIG).bands, usual)


@pytest.mark.parametrize(("threshold", "rows"), [(0.3, 2), (0.5, 3), (0.7, 5), (0.8, 6), (0.9, 10)])
def test_bands_are_as_wide_as_the_threshold_allows(threshold: float, rows: int) -> None:
    assert settings_of(DuplicatesConfig(threshold=threshold)) == (5, rows)
    assert (1 - threshold**rows) ** (256 // rows) <= 1e-4 < (1 - threshold ** (rows + 1)) ** (256 // (rows + 1))


def test_fingerprints_are_the_same_in_every_process(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, ["def f(x): return x", "a b", "é "])
    script = (
        "import sys; from pathlib import Path; from codetune.data.similar.minhash import *\n"
        "from codetune.data_recipe import DuplicatesConfig\n"
        "save_fingerprints(Path(sys.argv[1]), fingerprint(['def f(x): return x', 'a b', 'é '], DuplicatesConfig()))"
    )
    for seed in ("1", "2"):
        other = tmp_path / seed
        subprocess.run([sys.executable, "-c", script, str(other)], env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
        assert other.read_bytes() == path.read_bytes()


def same(some: Fingerprints, more: Fingerprints) -> bool:
    names = ("exact", "offsets", "shingles", "bands")
    return some.settings == more.settings and all(np.array_equal(getattr(some, name), getattr(more, name)) for name in names)


@pytest.mark.parametrize("texts", [[], [""], ["a", "", "a b c d e f"], sample(2, 10, (5, 50))], ids=len)
def test_fingerprints_come_back_as_they_were_saved(tmp_path: Path, texts: list[str]) -> None:
    made = fingerprint(texts, CONFIG)
    save_fingerprints(tmp_path / "a", made)
    assert same(load_fingerprints(tmp_path / "a"), made)
    assert made.texts == len(texts)


def test_a_file_that_is_cut_or_is_another_is_refused(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, ["a b c d e f g", "x"])
    whole = path.read_bytes()
    for damaged in (b"", whole[:5], whole[:200], whole[:-1], whole + b"x", b"x" + whole):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"damaged, or of another version: remove it to have it made again$"):
            load_fingerprints(path)
    with pytest.raises(UserError, match="no file"):
        load_fingerprints(tmp_path / "nowhere")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_no_damage_gives_a_traceback(tmp_path: Path, place: int, damage: bytes) -> None:
    (path,) = saved(tmp_path, ["a b c d e f g", "x", ""])
    raw = bytearray(path.read_bytes())
    place %= len(raw)
    raw[place : place + len(damage)] = damage
    path.write_bytes(bytes(raw))
    try:
        loaded = load_fingerprints(path)
    except UserError:
        return
    assert loaded.offsets[-1] == len(loaded.shingles)


def test_fingerprints_of_other_settings_are_refused(tmp_path: Path) -> None:
    paths = saved(tmp_path, ["a b c"])
    for config in (DuplicatesConfig(threshold=0.9), DuplicatesConfig(shingle_words=3)):
        with pytest.raises(UserError, match="other settings of duplicates"):
            found(paths, config=config)
