from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loading_world import configs_of, make_datasets, script_of, true_rows

import luab_data
from luab_data.files import sha256_of
from luab_data.hub.legacy import legacy_script
from luab_data.kinds import KINDS, tables_of
from luab_data.schema import COCO_CLASSES
from luab_data.store.folder import read_manifest

WNIDS = [f"n{i:08d}" for i in range(1000)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_datasets(tmp_path_factory.mktemp("legacy") / "world")


@pytest.fixture(autouse=True)
def no_script_stays_imported() -> Iterator[None]:
    yield
    for name in ("imagenet_ab", "coco_ab"):
        sys.modules.pop(name, None)


def imported(path: Path) -> Any:
    """The script as a module; the classes it needs outlived scripts themselves."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # streaming looks for it there
    spec.loader.exec_module(module)
    return module


def builder_of(path: Path, config: str | None, cache: Path) -> Any:
    module = imported(path)
    name = "ImagenetAb" if path.stem == "imagenet_ab" else "CocoAb"
    return getattr(module, name)(
        config_name=config, cache_dir=str(cache), base_path=str(path.parent), hash="test"
    )


@pytest.mark.parametrize("name", sorted(KINDS))
def test_the_conversion_ships_the_script_under_its_checksum(world: Path, name: str):
    manifest = read_manifest(world / name)
    path, text = legacy_script(name, tables_of(manifest), manifest["classes"], manifest["version"])
    assert script_of(world / name) == world / name / path
    assert (world / name / path).read_text(encoding="utf-8") == text
    assert manifest["files"][path] == sha256_of(world / name / path)


@pytest.mark.parametrize(
    ("name", "config"), [(n, t.config) for n, kind in KINDS.items() for t in kind.tables]
)
def test_the_script_gives_rows_and_features_of_the_folder(
    world: Path, tmp_path: Path, name: str, config: str
):
    script = script_of(world / name)
    builder = builder_of(script, None if config == "default" else config, tmp_path)
    assert builder.config.name == config
    assert list(builder.builder_configs) == [table.config for table in KINDS[name].tables]
    builder.download_and_prepare()
    mapped = builder.as_dataset(split="train")
    streamed = builder_of(script, config, tmp_path).as_streaming_dataset(split="train")
    folder = luab_data.load_dataset(world / name, config, split="train")
    rows = true_rows(world / name, configs_of(world / name)[config])
    assert list(mapped) == list(streamed) == rows
    assert list(mapped.features.items()) == list(folder.features.items())
    assert str(builder.config.version) == read_manifest(world / name)["version"]


def test_a_folder_with_its_script_loads_and_the_script_does_not(world: Path, monkeypatch: Any):
    """As `datasets` 3 has it, the script must be in its own folder, under another name."""
    import datasets

    monkeypatch.chdir(world)
    for name in KINDS:
        script = script_of(Path(name))
        assert script.stem != name and script.parent.name == "legacy"
        assert datasets.load_dataset(name, split="train").num_rows > 0
        with pytest.raises(RuntimeError, match="Dataset scripts are no longer supported"):
            datasets.load_dataset(str(script))


@pytest.mark.parametrize("name", sorted(KINDS))
def test_the_text_steps_into_no_trap_of_old_releases(name: str):
    path, text = legacy_script(name, KINDS[name].tables, WNIDS, "1.0.42")
    assert path == f"legacy/{name.replace('-', '_')}.py"
    assert text.isascii() and max(map(len, text.splitlines())) <= 100
    compile(ast.parse(text, feature_version=(3, 7)), path, "exec")
    # 2.x and 3.x look for lines like these, also in comments behind them.
    imports = re.findall(r"^[ \t]*(?:import|from)\b.*", text, re.MULTILINE)
    assert imports == ["import json", "import os", "import datasets", "import pyarrow.parquet"]
    assert "luab_data" not in text and "Only for datasets<4; newer: load_dataset(" in text
    assert text.count("1.0.42") == 3, "the text, by which old releases cache, names the version"
    head = text.split("COLUMNS = {")[0]
    assert len(head.splitlines()) <= 60


def test_it_is_the_same_for_equal_arguments_and_follows_the_schema():
    tables = KINDS["imagenet-ab"].tables
    script = legacy_script("imagenet-ab", tables, WNIDS, "1.0.1")
    assert script == legacy_script("imagenet-ab", tables, list(WNIDS), "1.0.1")
    assert script != legacy_script("imagenet-ab", tables, WNIDS[:-1], "1.0.1")
    assert script != legacy_script("imagenet-ab", tables, WNIDS, "1.0.2")
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(script[1]).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert values["NAMES"] == {"wnid": WNIDS}
    assert values["FOLDERS"] == {table.config: table.folder for table in tables}
    for table in tables:
        assert list(values["COLUMNS"][table.config]) == [column.name for column in table.columns]
    coco = legacy_script("coco-ab", KINDS["coco-ab"].tables, [], "1.0.1")[1]
    assert f'"{COCO_CLASSES[-1]}"' in coco and '"labels": ["coco"]' in coco


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(wnids=st.lists(names | st.just('"""'), min_size=1, max_size=20, unique=True))
def test_any_class_name_survives_the_script(wnids: list[str]):
    text = legacy_script("imagenet-ab", KINDS["imagenet-ab"].tables, wnids, "1.0.1")[1]
    (found,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NAMES"
    )
    assert found == {"wnid": wnids} and text.isascii()
