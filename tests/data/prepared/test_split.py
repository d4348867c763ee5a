"""Splits by group: nothing of one group is on two sides, shares are kept, the same in every run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetune.data.prepared.split import SPLITS, assign, keys_of, own_splits
from codetune.data_recipe import SplitConfig
from codetune.records import Document


def sides(documents: list[Document], config: SplitConfig, seed: int = 0) -> list[str]:
    return [SPLITS[split] for split in assign(keys_of(documents), own_splits(documents), config, seed)]


def of_groups(groups: int, each: int) -> list[Document]:
    return [Document(f"{group}/{number}", group=f"repository {group}") for group in range(groups) for number in range(each)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60), st.floats(0, 0.5), st.floats(0, 0.4), st.integers(0, 5))
def test_a_group_is_never_torn_apart(sizes: list[int], validation: float, test: float, seed: int) -> None:
    documents = [Document(f"{group}/{number}", group=str(group)) for group, size in enumerate(sizes) for number in range(size)]
    found = sides(documents, SplitConfig(validation=validation, test=test, by="group"), seed)
    for group in range(len(sizes)):
        assert len({side for side, document in zip(found, documents, strict=True) if document.group == str(group)}) == 1
    assert "train" in found


def test_shares_are_kept() -> None:
    found = sides(of_groups(500, 4), SplitConfig(validation=0.05, test=0.1))
    assert found.count("validation") == 100
    assert found.count("test") == 200


def test_few_groups_are_split_by_document_and_a_file_stays_with_its_functions() -> None:
    files = [Document(f"{n}.py", group="mine", facts={"file": f"{n}.py"}) for n in range(100)]
    functions = [Document(f"{n}.py::f", group="mine", facts={"file": f"{n}.py"}) for n in range(100)]
    found = sides([*files, *functions], SplitConfig(validation=0.1))
    assert found[:100] == found[100:]
    assert found[:100].count("validation") == 10
    assert set(sides(files, SplitConfig(validation=0.1, by="group"))) == {"train"}  # the only group


def test_a_group_larger_than_the_share_stays_in_training() -> None:
    documents = [Document(f"{n}", group="large" if n < 500 else str(n)) for n in range(1000)]
    for seed in range(20):
        found = sides(documents, SplitConfig(validation=0.05), seed)
        assert set(found[:500]) == {"train"}
        assert found.count("validation") == 50


def test_the_sources_own_splits_stay() -> None:
    documents = [Document("a", split="test"), Document("b", split="train"), Document("c", split="validation"), *of_groups(50, 1)]
    found = sides(documents, SplitConfig(validation=0.5))
    assert found[:3] == ["test", "train", "validation"]
    assert found[3:].count("validation") == 25


def test_the_same_whatever_the_order_and_another_by_seed() -> None:
    documents, config = of_groups(40, 2), SplitConfig(validation=0.2)
    there = dict(zip([one.id for one in documents], sides(documents, config), strict=True))
    back = dict(zip([one.id for one in documents[::-1]], sides(documents[::-1], config), strict=True))
    assert there == back
    assert sides(documents, config, seed=1) != sides(documents, config, seed=2)


def test_an_unknown_split_is_seen() -> None:
    with pytest.raises(KeyError, match="dev"):
        own_splits([Document("a", split="dev")])
    assert own_splits([]).dtype == np.int8
