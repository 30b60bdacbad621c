"""Schema, registry and functions say the same; each function reads what the registry says."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from logs import action, block, coco_record, xml

from luab_data.columns import imagenet as imagenet_columns
from luab_data.columns.coco import Tagged
from luab_data.columns.registry import (
    COCO,
    IMAGENET,
    Derived,
    Registry,
    Step,
)
from luab_data.columns.rounds import ORDERED_BY, order_rounds
from luab_data.errors import OptionError
from luab_data.kinds import KINDS, tables_of
from luab_data.raw import coco as raw_coco
from luab_data.raw.imagenet import parse, to_batch
from luab_data.schema import COCO_CLASSES, COCO_IMAGES, IMAGENET_IMAGES
from luab_data.truth import TrueImage

REGISTRIES = {name: kind.derivation.registry for name, kind in KINDS.items()}
BOTH = pytest.mark.parametrize("registry", REGISTRIES.values(), ids=list(REGISTRIES))
# The log's own value of these is completed from another source.
COMPLETED = {"imagenet-ab": {"width", "height"}, "coco-ab": set()}
EVERY = [(name, d) for name, r in REGISTRIES.items() for d in r.derived]
STEPS = [(name, s) for name, r in REGISTRIES.items() for s in r.steps.values()]


@pytest.mark.parametrize("name", REGISTRIES)
def test_raw_columns_and_registry_are_exactly_the_schema(name: str):
    registry = REGISTRIES[name]
    raw = {c.name for c in registry.table.columns if c.raw}
    derived = set(registry.names())
    published = {c.name for c in (*registry.table.columns, *registry.table.optional)}
    assert raw | derived == published
    assert raw & derived == COMPLETED[name]
    assert len(registry.names()) == len(derived), "a column is derived twice"
    needed = {c.name for c in registry.table.columns}
    assert set(registry.names(optional=False)) | raw == needed


@pytest.mark.parametrize(("name", "derived"), EVERY, ids=[f"{n}-{d.names[0]}" for n, d in EVERY])
def test_every_function_says_what_it_returns_when_it_is_null_and_where_it_comes_from(
    name: str, derived: Derived
):
    text = inspect.getdoc(derived.function) or ""
    for word in ("Returns:", "Null ", "Source:"):
        assert any(line.startswith(word) for line in text.splitlines()), f"{word} of {name}"
    assert "(num_" in text, "no shape"


@pytest.mark.parametrize(
    ("reads", "function"),
    [(entry.reads, entry.function) for _, entry in (*EVERY, *STEPS)],
)
def test_parameters_are_named_after_their_sources(reads: tuple[str, ...], function: Any):
    parameters = list(inspect.signature(function).parameters)
    named = [source.rpartition(".")[2] for source in reads]
    if parameters != ["column"]:  # as_logged hands on any column
        assert parameters == named


@BOTH
def test_every_source_is_a_column_of_its_table(registry: Registry):
    dataset = next(name for name, found in REGISTRIES.items() if found is registry)
    default, log, _ = tables_of({"dataset": dataset})
    known = {
        "raw": {c.name for c in default.columns if c.raw},
        **{table: {c.name for c in log.columns} for table in ("round", "rounds", "actions")},
    }
    for source in registry.sources(registry.names()):
        table, _, name = source.rpartition(".")
        assert name in known[table] if table else source in ("bounds", "wnids", "classes", "truth")


def imagenet_given() -> dict[str, Any]:
    trace = [(t, 0.01 * t, 0.02 * t) for t in range(0, 40, 3)]
    hovered = [("enter", 0), ("leave", 50)]
    one = block(clicks=[(20, 0.2, 0.3), (40, 0.4, 0.6)], trace=trace, hovered=hovered)
    two = block(submit=5, clicks=[(9, 0.9, 0.1)])
    logs = {
        "n1_1": xml("n1_1", [one, two], [(1, 2, 90, 80)]),
        "n1_2": xml("n1_2", []),
        "n2_1": xml("n2_1", [block(selected=False, clicks=[])]),
    }
    batch = to_batch([parse(f"{i}.xml", b) for i, b in logs.items()], lambda worker: worker)
    rounds = order_rounds(batch.images["image_id"], batch.rounds)
    given = imagenet_columns.sources(batch.images, rounds, IMAGENET.names())
    return {**given, "wnids": ["n1", "n2"]}


def coco_given() -> dict[str, Any]:
    steps = [action("add", "dog", (0.2, 0.2)), action("move", "dog", (0.6, 0.6))]
    records = [coco_record(9, [*steps, action("add", "cup", (0.1, 0.9))]), coco_record(8, [])]
    actions = raw_coco.to_table(
        [raw_coco.parse(i, r) for i, r in enumerate(records)], lambda worker: worker
    )
    truth = {9: TrueImage(40, 20, {})}
    given = Tagged(COCO, COCO_CLASSES).sources(actions, np.arange(3), truth, COCO.names())
    return dict(given)


GIVEN = {"imagenet-ab": imagenet_given, "coco-ab": coco_given}


@pytest.mark.parametrize(("name", "derived"), EVERY, ids=[f"{n}-{d.names[0]}" for n, d in EVERY])
def test_a_column_needs_exactly_the_sources_that_the_registry_names(name: str, derived: Derived):
    registry, given = REGISTRIES[name], GIVEN[name]()
    whole = registry.compute(registry.names(), given)
    sources = registry.sources(derived.names)
    found = registry.compute(derived.names, {s: given[s] for s in sources})
    for column in derived.names:
        assert found[column].equals(whole[column])
        assert found[column].type == registry.table[column].type
        assert len(found[column]) == (3 if name == "imagenet-ab" else 2)
    for source in sources:
        with pytest.raises((OptionError, KeyError)):
            registry.compute(derived.names, {s: given[s] for s in sources if s != source})


def test_a_step_is_computed_once_and_nothing_else_is_changed():
    calls = []

    def step(boxes: Any) -> Any:
        calls.append("step")
        return boxes

    registry = Registry(
        table=IMAGENET_IMAGES,
        derived=(
            Derived(("width",), lambda shared: shared, ("shared",)),
            Derived(("height",), lambda shared: shared, ("shared",)),
        ),
        steps={"shared": Step(step, ("raw.boxes",))},
    )
    given = {"raw.boxes": pa.array([1])}
    assert set(registry.compute(["width", "height"], given)) == {"width", "height"}
    assert calls == ["step"] and set(given) == {"raw.boxes"}


def test_a_derived_column_that_is_given_is_not_computed_again():
    given = {**coco_given(), "labels": pa.array([[41], None], pa.list_(pa.int64()))}
    del given["truth"]
    x = COCO.compute(["notebook_point_x"], given)["notebook_point_x"]
    assert x.to_pylist() == [[None, 2], []]  # of dog and cup only cup (41) is in the labels


@BOTH
def test_an_unknown_column_is_answered_with_those_there_are(registry: Registry):
    with pytest.raises(OptionError, match=r"'colour' is no derived column.*width"):
        registry.of("colour")


def test_optional_columns_come_after_the_others_and_only_when_asked_for():
    assert "notebook_point_x" not in IMAGENET_IMAGES.schema().names
    wide = COCO_IMAGES.having(["notebook_point_y"])
    assert wide.schema().names == [*COCO_IMAGES.schema().names, "notebook_point_y"]
    schemas = {"default": dict.fromkeys(wide.schema().names, "any")}
    assert tables_of({"dataset": "coco-ab", "schemas": schemas})[0] == wide


def test_order_rounds_needs_no_more_columns_than_it_says():
    blocks = [block(submit=7, worker="b"), block(submit=5, worker="a")]
    batch = to_batch([parse("n1_1.xml", xml("n1_1", blocks))], lambda worker: worker)
    ids = batch.images["image_id"]
    whole = order_rounds(ids, batch.rounds)
    slim = order_rounds(ids, batch.rounds.select([*ORDERED_BY, "worker_id"]))
    names = ["image_id", "round", "hit_submit_time", "selected", "worker_id"]
    assert slim.table.column_names == names
    assert slim.table["worker_id"].to_pylist() == ["a", "b"]
    assert np.array_equal(slim.deciding, whole.deciding)
    # What is ordered already comes through unchanged.
    again = order_rounds(ids, whole.table)
    assert again.table.equals(whole.table) and again.deciding.tolist() == [1]


@pytest.mark.parametrize("name", REGISTRIES)
def test_the_table_of_derivations_names_every_column_function_and_source(name: str):
    events = KINDS[name].derivation.events
    both = [(registry, d) for registry in (REGISTRIES[name], events) for d in registry.derived]
    lines = [line for r in (REGISTRIES[name], events) for line in r.page().splitlines()[2:]]
    for (registry, derived), line in zip(both, lines, strict=True):
        assert all(f"`{column}`" in line for column in derived.names)
        assert f".{derived.function.__name__}`" in line
        assert all(f"`{source}`" in line for source in registry.sources(derived.names))
        optional = {c.name for c in registry.table.optional}
        assert ("(optional)" in line) is bool(optional & set(derived.names))
