from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from logs import KEY, action, archive, block, coco_log, coco_record, files, xml

import luab_data
from luab_data.errors import DatasetError, LuabError, OptionError, OutputError
from luab_data.files import sha256_of
from luab_data.hub.card import dataset_card, size_category, statistics_table
from luab_data.hub.upload import Published, publish
from luab_data.hub.vet import vet
from luab_data.kinds import KINDS, tables_of
from luab_data.raw.worker_ids import WorkerHash
from luab_data.statistics.dataset import stats as stats_of
from luab_data.store.folder import read_manifest, seal

DAY = "2026-11-22"
REPO = "someone/byproducts"
OTHER_WORKER = "A2SUAM7FEUQ9M1"  # the platform's own form, not the releases'

needs_mlcroissant = pytest.mark.skipif(
    importlib.util.find_spec("mlcroissant") is None, reason="needs the extra croissant"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both datasets, of a few records each, one of them bad."""
    folder = tmp_path_factory.mktemp("made")
    records = {}
    for i in range(6):
        name = f"n0000000{2 - i % 2}_{i}"
        clicks = [(1_640_000_000_000 + i, 0.1 * i, 0.5)]
        records[name] = xml(
            name,
            [block(clicks=clicks, worker=f"00AA3B5E8{i % 3}")],
            boxes=[(0, 0, 90, 100)] if i % 2 else None,
        )
    records["n00000001_9"] = b"<annotation>"
    raw = archive(folder / "raw.tar.gz", records)
    imagenet = folder / "imagenet-ab"
    luab_data.convert_imagenet(raw, imagenet, worker_key=KEY, on_bad="skip")
    rows = [
        coco_record(1, [action("add", "dog", (0.5, 0.5)), action("move", "dog", (0.25, 0.5))]),
        coco_record(2, [action("add", "cat", (0.5, 0.5))], worker_id=OTHER_WORKER),
        coco_record(3, []),
    ]
    images = [{"id": i, "width": 20, "height": 10} for i in (1, 2)]
    square = [[0, 0, 10, 0, 10, 10, 0, 10]]
    truth = {"id": 1, "image_id": 1, "category_id": 18, "segmentation": square, "iscrowd": 0}
    truth |= {"area": 100, "bbox": [0, 0, 10, 10]}
    (folder / "instances.json").write_text(json.dumps({"images": images, "annotations": [truth]}))
    luab_data.convert_coco(
        coco_log(folder / "raw.json", rows),
        folder / "coco-ab",
        instances=folder / "instances.json",
        worker_key=KEY,
    )
    return {"imagenet-ab": imagenet, "coco-ab": folder / "coco-ab"}


@pytest.fixture(scope="module")
def sent(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both as they lie on the Hub; to be read only."""
    hubs = {kind: FakeHub(tmp_path_factory.mktemp("sent") / kind) for kind in made}
    for kind, folder in made.items():
        send(folder, hubs[kind])
    return {kind: hub.store for kind, hub in hubs.items()}


@pytest.fixture
def copied(made: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made["imagenet-ab"], tmp_path / "imagenet-ab"))


class FakeHub:
    """Records what it is asked for, and keeps what is uploaded; `fails` names a call to refuse."""

    def __init__(self, store: Path, *, private: bool = False, fails: str = "", status: int = 0):
        self.store, self.private, self.fails, self.status = store, private, fails, status
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def _called(self, name: str, options: dict[str, Any]) -> None:
        self.calls.append((name, options))
        if name == self.fails:
            error = RuntimeError("the first line\nand the second")
            error.response = type("Response", (), {"status_code": self.status})()  # type: ignore
            raise error

    def create_repo(self, repo_id: str, **options: Any) -> str:
        self._called("create_repo", {"repo_id": repo_id, **options})
        return f"https://huggingface.co/datasets/{repo_id}"

    def dataset_info(self, repo_id: str) -> Any:
        self._called("dataset_info", {"repo_id": repo_id})
        return type("Info", (), {"private": self.private})()

    def upload_folder(self, *, folder_path: Path, **options: Any) -> None:
        self._called("upload_folder", options)
        shutil.copytree(folder_path, self.store)  # follows links, as the client does

    def create_tag(self, repo_id: str, **options: Any) -> None:
        self._called("create_tag", {"repo_id": repo_id, **options})


def stats(folder: Path) -> dict[str, Any]:
    return stats_of(folder).counts


def send(folder: Path, hub: Any = None, **options: Any) -> Published:
    return publish(folder, REPO, api=hub, date=DAY, **options)


def front_matter(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text.split("---\n")[1]))


# --- what is uploaded ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["imagenet-ab", "coco-ab"])
def test_the_upload_is_a_whole_dataset_and_the_folder_stays_as_it_was(
    kind: str, made: dict[str, Path], tmp_path: Path
):
    before = files(made[kind])
    hub = FakeHub(tmp_path / "hub")
    done = send(made[kind], hub)
    assert files(made[kind]) == before
    sent = files(hub.store)
    assert {item.path: (item.size, item.sha256) for item in done.items} == {
        name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in sent.items()
    }
    new = {"CITATION.cff", "croissant.json"}
    assert sent.keys() - before.keys() == new
    changed = {name for name in before if sent[name] != before[name]}
    assert changed == {"README.md", "manifest.json", "SHA256SUMS"}
    sums = dict(line.split("  ")[::-1] for line in sent["SHA256SUMS"].decode().splitlines())
    manifest = json.loads(sent["manifest.json"])
    assert sums == manifest["files"] and sums.keys() == sent.keys() - {
        "manifest.json",
        "SHA256SUMS",
    }
    assert all(hashlib.sha256(sent[name]).hexdigest() == digest for name, digest in sums.items())
    old = read_manifest(made[kind])
    assert {k: v for k, v in manifest.items() if k != "files"} == {
        k: v for k, v in old.items() if k != "files"
    }
    # Whoever downloads it has a dataset folder: it may be published again, and it loads.
    vet(hub.store)
    for config in (table.config for table in KINDS[kind].tables):
        rows = luab_data.load_dataset(hub.store, config, split="train", cache_dir=str(tmp_path))
        assert len(rows) == manifest["num_rows"][config]


def test_what_the_hub_is_asked_for(made: dict[str, Path], tmp_path: Path):
    hub = FakeHub(tmp_path / "hub", private=True)
    done = send(made["coco-ab"], hub, private=True)
    version = read_manifest(made["coco-ab"])["version"]
    assert hub.calls == [
        (
            "create_repo",
            {"repo_id": REPO, "repo_type": "dataset", "private": True, "exist_ok": True},
        ),
        ("dataset_info", {"repo_id": REPO}),
        (
            "upload_folder",
            {
                "repo_id": REPO,
                "repo_type": "dataset",
                "commit_message": f"COCO-AB {version}",
                # Shards of an older upload would be read too: the card's globs match them.
                "delete_patterns": [
                    *("data/*", "actions/*", "annotators/*", "legacy/*", "skipped.jsonl"),
                ],
            },
        ),
        (
            "create_tag",
            {"repo_id": REPO, "tag": version, "repo_type": "dataset", "exist_ok": True},
        ),
    ]
    assert (done.sent, done.private, done.version) == (True, True, version)
    assert done.url == f"https://huggingface.co/datasets/{REPO}"


def test_the_clients_of_the_hub_have_what_is_called():
    """The fake may not drift from the installed client."""
    import inspect

    from huggingface_hub import HfApi

    for name, used in {
        "create_repo": {"repo_id", "repo_type", "private", "exist_ok"},
        "dataset_info": {"repo_id"},
        "upload_folder": {
            *("repo_id", "repo_type", "folder_path", "commit_message", "delete_patterns"),
        },
        "create_tag": {"repo_id", "tag", "repo_type", "exist_ok"},
    }.items():
        assert used <= inspect.signature(getattr(HfApi, name)).parameters.keys(), name


def test_a_dry_run_lists_what_a_real_one_sends_as_links_or_copies(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hub = FakeHub(tmp_path / "hub")
    would = send(made["imagenet-ab"], hub, dry_run=True)
    assert hub.calls == [] and not would.sent

    def refuse(*_: object) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", refuse)
    assert would.items == send(made["imagenet-ab"], hub).items


def test_nothing_is_left_in_the_temporary_folder(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    send(made["imagenet-ab"], dry_run=True)
    with pytest.raises(OutputError):
        send(made["imagenet-ab"], FakeHub(tmp_path / "hub", fails="upload_folder"))
    assert list(tmp_path.iterdir()) == []


# --- what is refused -----------------------------------------------------------------------------


def edit(folder: Path, **changes: Any) -> None:
    """Hand-edit the manifest; None takes a key away."""
    manifest = {**read_manifest(folder), **changes}
    kept = {key: value for key, value in manifest.items() if value is not None}
    (folder / "manifest.json").write_text(json.dumps(kept))


def with_ids(folder: Path, change: Callable[[list[str | None]], list[str | None]]) -> None:
    """Change the worker ids of `default` and seal the folder again, as a careful cheat would."""
    (path,) = (folder / "data").iterdir()
    table = pq.read_table(path)
    at = table.column_names.index("worker_id")
    ids = pa.array(change(table["worker_id"].to_pylist()), pa.string())
    pq.write_table(table.set_column(at, table.schema.field(at), ids), path)
    manifest = read_manifest(folder)
    seal(folder, {key: value for key, value in manifest.items() if key != "files"})


def test_only_keyed_hashes_may_leave(copied: Path):
    told = read_manifest(copied)["worker_ids"]
    for worker_ids, reason in [
        (None, "does not say that worker ids are hashed"),
        ("HMAC-SHA256", "are not hashed with HMAC-SHA256"),
        ({**told, "method": "BLAKE2b"}, "are not hashed with HMAC-SHA256"),
        ({**told, "method": None}, "are not hashed with HMAC-SHA256"),
        ({**told, "key": ""}, "names no key"),
        ({**told, "key": None}, "names no key"),
        ({**told, "source": "trust me"}, "no source"),
    ]:
        edit(copied, worker_ids=worker_ids)
        with pytest.raises(DatasetError, match=reason) as error:
            vet(copied)
        assert "--worker-key-file" in str(error.value) or "convert" in str(error.value)
    edit(copied, worker_ids=None, worker_key="0123abcd")
    with pytest.raises(DatasetError, match="before luab hashed with HMAC"):
        vet(copied)
    edit(copied, worker_ids=told, worker_key=None)
    vet(copied)


@pytest.mark.parametrize(
    "wrong", ["00AA3B5E80", "0123456789ABCDEF", "0123456789abcdef\n", "0123456789abcde", ""]
)
def test_ids_that_are_no_hashes_are_found_whatever_the_manifest_says(copied: Path, wrong: str):
    with_ids(copied, lambda ids: [*ids[:-1], wrong])
    with pytest.raises(DatasetError, match="a worker_id that is no hash") as e:
        vet(copied)
    assert not wrong or wrong not in str(e.value)


def _flip(folder: Path) -> None:
    (path,) = (folder / "rounds").iterdir()
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


def _edit_sums(folder: Path) -> None:
    path = folder / "SHA256SUMS"
    path.write_text(path.read_text().replace("a", "b"))


def _drop_column(folder: Path) -> None:
    (path,) = (folder / "annotators").iterdir()
    pq.write_table(pq.read_table(path).drop_columns(["num_rounds"]), path)
    seal(folder, {key: value for key, value in read_manifest(folder).items() if key != "files"})


def _climb(folder: Path) -> None:
    (folder.parent / "diary.txt").write_text("x")
    listed = read_manifest(folder)["files"]
    edit(folder, files={**listed, "../diary.txt": sha256_of(folder.parent / "diary.txt")})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_flip, "found SHA-256"),
        (lambda f: (f / "skipped.jsonl").unlink(), r"skipped\.jsonl: is missing"),
        (lambda f: (f / "README.md").write_text("mine"), "README.md: found SHA-256"),
        (lambda f: (f / "data" / "train-9.parquet").write_bytes(b"x"), "counted twice"),
        (lambda f: (f / ".env").write_bytes(b"x"), "only files of the manifest"),
        (_edit_sums, "SHA256SUMS: found"),
        (lambda f: (f / "SHA256SUMS").unlink(), "SHA256SUMS: found no plain file"),
        (_drop_column, "found num_rounds is missing"),
        (_climb, r"'\.\./diary\.txt', which is outside of the folder"),
        (lambda f: edit(f, num_rows={"default": 7}), "missing required field `rounds`"),
        (lambda f: edit(f, dataset="openimages-ab"), "imagenet-ab or coco-ab"),
        (lambda f: edit(f, shards=None), "has no shards: an older luab"),
        (lambda f: edit(f, source="raw.tar.gz"), "found source: Expected `object`, got `str`"),
    ],
)
def test_a_folder_that_is_not_as_luab_wrote_it_is_refused(
    copied: Path, damage: Callable[[Path], object], reason: str
):
    vet(copied)
    damage(copied)
    with pytest.raises(DatasetError, match=reason):
        send(copied, dry_run=True)


def test_a_folder_that_changes_meanwhile_is_not_sent(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def numbers(folder: Path) -> Any:
        found = stats_of(folder)
        _flip(folder)
        return found

    monkeypatch.setattr("luab_data.hub.upload.stats", numbers)
    hub = FakeHub(tmp_path / "hub")
    with pytest.raises(DatasetError, match="changed while it was read"):
        publish(copied, REPO, api=hub)
    assert hub.calls == []


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_folder_that_was_published_before_stays_as_it_is(
    sent: dict[str, Path], tmp_path: Path, dry_run: bool
):
    """Its card, CITATION.cff and croissant.json are made anew for the other repository."""
    downloaded = Path(shutil.copytree(sent["imagenet-ab"], tmp_path / "imagenet-ab"))
    before = files(downloaded)
    assert {"CITATION.cff", "croissant.json"} <= before.keys()
    again = FakeHub(tmp_path / "again")
    publish(downloaded, "else/where", api=again, date="2027-01-01", dry_run=dry_run)
    assert files(downloaded) == before
    if not dry_run:
        assert "else/where" in files(again.store)["CITATION.cff"].decode()


@pytest.mark.parametrize(
    ("address", "refused"), [("ann@example.org", True), ("icon@2x.png", False), ("a@b", False)]
)
def test_an_address_in_any_text_column_stays_here(
    copied: Path, monkeypatch: pytest.MonkeyPatch, address: str, refused: bool
):
    (path,) = (copied / "rounds").iterdir()
    table = pq.read_table(path)
    place = table.column_names.index("assignment_id")
    ids = pa.array([*table["assignment_id"].to_pylist()[:-1], address])
    pq.write_table(table.set_column(place, table.schema.field(place), ids), path)
    whole = type("Report", (), {"problems": ()})
    monkeypatch.setattr("luab_data.hub.vet.check", lambda *_, **__: whole)
    if not refused:
        vet(copied)
        return
    with pytest.raises(DatasetError, match=r": 1 of `rounds/assignment_id`; expected") as error:
        vet(copied)
    assert address not in str(error.value)


def test_what_desktops_and_git_leave_is_no_reason_and_stays_here(copied: Path):
    (copied / ".DS_Store").write_bytes(b"x")
    (copied / ".git").mkdir()
    (copied / ".git" / "HEAD").write_bytes(b"x")
    assert not any(item.path.startswith(".") for item in send(copied, dry_run=True).items)


@pytest.mark.parametrize("repo_id", ["byproducts", "a/b/c", "a b/c", "a/b--c", "", "a/", "/b"])
def test_a_repository_needs_an_owner_and_a_name(made: dict[str, Path], repo_id: str):
    with pytest.raises(OptionError, match="--repo-id"):
        publish(made["coco-ab"], repo_id, dry_run=True)


# --- a Hub that refuses --------------------------------------------------------------------------


def test_a_public_repository_is_not_taken_for_a_private_one(made: dict[str, Path], tmp_path: Path):
    hub = FakeHub(tmp_path / "hub", private=False)
    with pytest.raises(OutputError, match="is there already and public"):
        send(made["coco-ab"], hub, private=True)
    assert [name for name, _ in hub.calls] == ["create_repo", "dataset_info"]


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        ("create_repo", 401, "nothing was uploaded. Log in with `hf auth login`"),
        ("create_repo", 403, "nothing was uploaded. Log in"),
        ("dataset_info", 500, "nothing was uploaded. Check the connection"),
        ("upload_folder", 500, "not complete; run the command again"),
        ("create_tag", 500, "only the tag 1.0."),
    ],
)
def test_the_hubs_errors_are_one_line_that_says_how_far_it_came(
    call: str, status: int, words: str, made: dict[str, Path], tmp_path: Path
):
    hub = FakeHub(tmp_path / "hub", fails=call, status=status)
    with pytest.raises(OutputError, match="the first line and the second") as error:
        send(made["coco-ab"], hub)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert isinstance(error.value, LuabError) and hub.calls[-1][0] == call


# --- the card ------------------------------------------------------------------------------------


def card_of(made: Mapping[str, Path], kind: str, **changes: Any) -> str:
    manifest = {**read_manifest(made[kind]), **changes}
    numbers = stats(made[kind])
    return dataset_card(manifest, name=REPO, statistics=numbers, published=True)


@pytest.mark.parametrize("kind", ["imagenet-ab", "coco-ab"])
def test_the_card_has_every_column_every_number_and_every_trap(kind: str, made: dict[str, Path]):
    text, manifest = card_of(made, kind), read_manifest(made[kind])
    for table in tables_of(manifest):
        part = text.split(f"### `{table.config}`: {manifest['num_rows'][table.config]:,} rows")[1]
        for column in table.columns:
            kind_ = str(column.type).replace("element: ", "").replace("item: ", "")
            kind_ = kind_.replace("double", "float64")
            row = f"| `{column.name}` | `{kind_}` | {column.unit} | {column.doc} |"
            assert row in part.split("### ")[0]
    about, counts = KINDS[kind].about, KINDS[kind].statistics.counts
    numbers = stats(made[kind])
    for name, value in numbers.items():
        if isinstance(value, int):
            assert f"| `{name}` | {value:,} | {counts[name].title} |" in text
    for name, explanation in (*about.biases, *about.limits):
        assert f"- **{name}.** {explanation}" in text
    assert about.citation in text and about.terms in text
    assert manifest["source"]["sha256"] in text and manifest["source"]["name"] in text
    assert f'load_dataset("{REPO}", "annotators", split="train")' in text
    assert f'revision="{manifest["version"]}"' in text


def test_the_card_tells_what_was_left_out_and_what_ids_were(made: dict[str, Path]):
    text = card_of(made, "imagenet-ab")
    assert "1 bad records were left out" in text and "| `xml-syntax` | 1 |" in text
    assert "No record was left out." in card_of(made, "coco-ab")
    fingerprint = WorkerHash(KEY).fingerprint
    for kind, words in (
        ("imagenet-ab", "anyone can match its rows with these"),
        ("coco-ab", "were not of the release's anonymous form"),
    ):
        text = card_of(made, kind)
        assert words in text and f"(fingerprint `{fingerprint}`)" in text
        assert OTHER_WORKER not in text and "00AA3B5E8" not in text


def test_a_card_of_simulated_data_says_so_and_not_crowdsourced(tmp_path: Path):
    box = [[8.0, 8.0, 40.0, 40.0]]
    image = {"wnid": "n00000001", "width": 64, "height": 64, "boxes": box}
    images = [luab_data.LabelledImage(image_id=f"n00000001_{i}", **image) for i in range(8)]
    log = tmp_path / "raw.tar.gz"
    luab_data.simulate_imagenet(images, log)
    out = luab_data.convert_imagenet(log, tmp_path / "imagenet-ab", worker_key=KEY).out
    assert read_manifest(out)["simulated"] is True
    text = (out / "README.md").read_text()
    matter = front_matter(text)
    assert matter["annotations_creators"] == ["machine-generated"] and "simulated" in matter["tags"]
    assert "# ImageNet-AB, simulated" in text and "nobody annotated anything" in text
    assert not re.search("crowdsourc|Amazon Mechanical Turk", text.split("## Known biases")[0])
    hub = FakeHub(tmp_path / "hub")
    send(out, hub)
    croissant = json.loads((hub.store / "croissant.json").read_text())
    assert croissant["rai:dataCollectionType"] == ["Others"]
    (tmp_path / "raw.tar.gz.truth.jsonl.gz").unlink()  # nothing tells any more
    again = luab_data.convert_imagenet(log, tmp_path / "again", worker_key=KEY).out
    assert "simulated" not in read_manifest(again)


def test_a_number_that_is_not_there_is_no_zero():
    counts = KINDS["coco-ab"].statistics.counts
    numbers = {"recall": None, "num_records": 12345, "icon_precision": 0.5, "action_sequences": {}}
    table = statistics_table(counts, numbers)
    rows = [line.split(" | ")[1] for line in table.splitlines()[2:]]
    assert rows == ["-", "12,345", "0.5000", "-"]


def test_the_cards_yaml_is_what_the_hub_and_datasets_read(
    made: dict[str, Path], sent: dict[str, Path]
):
    from huggingface_hub import DatasetCard, DatasetCardData

    for kind in made:
        text = (sent[kind] / "README.md").read_text()
        matter = front_matter(text)
        data = DatasetCard(text).data
        assert isinstance(data, DatasetCardData)
        assert data.to_dict() == matter
        assert list(matter) == [
            *("pretty_name", "license", "annotations_creators", "source_datasets"),
            *("size_categories", "task_categories", "task_ids", "tags", "configs", "dataset_info"),
        ]
        options = DatasetCardData.__doc__ or ""
        for key in ("annotations_creators", "size_categories"):
            assert all(f"'{value}'" in options for value in matter[key])
        version = read_manifest(made[kind])["version"]
        assert [config["version"] for config in matter["configs"]] == [version] * 3
        # The reader takes the first key for the type; sorted keys would be another type.
        features = [f for info in matter["dataset_info"] for f in info["features"]]
        assert {tuple(feature) for feature in features} == {("name", "dtype"), ("name", "list")}


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        *((0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (82_765, "10K<n<100K")),
        *((100_000, "100K<n<1M"), (1_272_225, "1M<n<10M")),
    ],
)
def test_sizes_at_the_edges(rows: int, word: str):
    assert size_category(rows) == word


def test_the_citation_file_names_the_paper(made: dict[str, Path], sent: dict[str, Path]):
    text = (sent["coco-ab"] / "CITATION.cff").read_text()
    assert "&" not in text and "*" not in text  # readers of CFF know no YAML aliases
    cff = yaml.safe_load(text)
    assert cff.keys() >= {"cff-version", "message", "title", "authors"}  # what 1.2.0 requires
    assert cff["version"] == read_manifest(made["coco-ab"])["version"]
    paper = cff["preferred-citation"]
    assert paper["type"] == "conference-paper" and len(paper["authors"]) == 8
    assert paper["title"] in KINDS["coco-ab"].about.citation and paper["authors"][0] == {
        "family-names": "Han",
        "given-names": "Dongyoon",
    }


# --- Croissant -----------------------------------------------------------------------------------


def mlcroissant(jsonld: Path) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).parent / "mlcroissant"),
        "validate",
        "--jsonld",
        str(jsonld),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@needs_mlcroissant
@pytest.mark.parametrize("kind", ["imagenet-ab", "coco-ab"])
def test_mlcroissant_validates_and_reads_the_records(
    kind: str, made: dict[str, Path], sent: dict[str, Path]
):
    jsonld = sent[kind] / "croissant.json"
    found = mlcroissant(jsonld)
    assert found.returncode == 0 and "arning" not in found.stderr, found.stderr
    tables = tables_of(read_manifest(made[kind]))
    code = (
        "import json, sys, mlcroissant\n"
        "dataset = mlcroissant.Dataset(sys.argv[1])\n"
        "def plain(v):\n"
        "    if isinstance(v, list): return [plain(i) for i in v]\n"
        "    if v != v: return None  # pandas has no null among floats\n"
        "    return v.decode() if isinstance(v, bytes) else v.item() if hasattr(v, 'item') else v\n"
        "for config in sys.argv[2:]:\n"
        "    rows = [{k.split('/')[1]: plain(v) for k, v in row.items()}\n"
        "            for row in dataset.records(config)]\n"
        "    print(json.dumps(rows))\n"
    )
    command = [sys.executable, "-c", code, str(jsonld), *(table.config for table in tables)]
    read = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert read.returncode == 0, read.stderr
    for table, line in zip(tables, read.stdout.splitlines(), strict=True):
        assert json.loads(line) == pq.read_table(sent[kind] / table.folder).to_pylist()


@needs_mlcroissant
def test_mlcroissant_would_notice(sent: dict[str, Path], tmp_path: Path):
    copy = Path(shutil.copytree(sent["coco-ab"], tmp_path / "copy"))
    jsonld = copy / "croissant.json"
    found = json.loads(jsonld.read_text())
    found["distribution"] = found["distribution"][:-1]
    jsonld.write_text(json.dumps(found))
    assert mlcroissant(jsonld).returncode == 1


@pytest.mark.parametrize("kind", ["imagenet-ab", "coco-ab"])
def test_the_croissant_file_says_what_the_schema_says(
    kind: str, made: dict[str, Path], sent: dict[str, Path]
):
    store = sent[kind]
    found = json.loads((store / "croissant.json").read_text())
    assert (found["datePublished"], found["version"]) == (DAY, read_manifest(made[kind])["version"])
    objects = [d for d in found["distribution"] if d["@type"] == "cr:FileObject"]
    parquet = {p.relative_to(store).as_posix(): p for p in store.rglob("*.parquet")}
    assert {d["contentUrl"]: (d["sha256"], d["contentSize"]) for d in objects} == {
        name: (sha256_of(path), f"{path.stat().st_size} B") for name, path in parquet.items()
    }
    records = {r["@id"]: {f["name"]: f for f in r["field"]} for r in found["recordSet"]}
    for table in tables_of(read_manifest(made[kind])):
        assert list(records[table.config]) == [column.name for column in table.columns]
        for column in table.columns:
            field = records[table.config][column.name]
            depth = str(column.type).count("list<")
            assert field.get("arrayShape", "").count("-1") == depth
            assert field.get("isArray", False) is bool(depth)
            assert column.doc in field["description"] and column.unit in field["description"]
    assert records["default"]["image_id"]["dataType"] == (
        "sc:Text" if kind == "imagenet-ab" else "cr:Int64"
    )
    label = "label" if kind == "imagenet-ab" else "labels"
    names = next(r for r in found["recordSet"] if r["@id"] == f"default-{label}-names")
    assert len(names["data"]) == (2 if kind == "imagenet-ab" else 80)


# --- the command ---------------------------------------------------------------------------------


def run_offline(*arguments: str | Path, dataset_home: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process whose sockets cannot connect."""
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('somebody asked the network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from luab_data.cli import main\n"
        "main(sys.argv[1:], prog_name='luab-data')\n"
    )
    command = [sys.executable, "-c", code, "publish", *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "LUAB_DATA_HOME": str(dataset_home)}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def test_the_dry_run_as_a_process_without_network(made: dict[str, Path]):
    folder = made["imagenet-ab"]
    found = run_offline(
        "imagenet-ab", "--repo-id", REPO, "--dry-run", "--private", dataset_home=folder.parent
    )
    assert found.returncode == 0 and found.stderr == "", found.stderr
    *lines, total, replaced = found.stdout.splitlines()
    rows = [re.fullmatch(r"([0-9a-f]{64}) +([\d,]+)  (\S+)", line) for line in lines]
    listed = {row[3]: (row[1], int(row[2].replace(",", ""))) for row in rows if row}
    assert len(listed) == len(lines)
    for path in folder.rglob("*.parquet"):
        name = path.relative_to(folder).as_posix()
        assert listed[name] == (sha256_of(path), path.stat().st_size)
    assert listed.keys() == {*files(folder), "CITATION.cff", "croissant.json"}
    version = read_manifest(folder)["version"]
    size = sum(size for _, size in listed.values())
    assert total == (
        f"{len(lines)} files, {size:,} bytes would go to"
        f" https://huggingface.co/datasets/{REPO} (private), version {version}"
    )
    assert replaced == (
        "and replace there whatever else is in data/*, rounds/*, annotators/*, legacy/*,"
        " skipped.jsonl"
    )


def test_without_network_the_upload_is_one_clear_error(made: dict[str, Path]):
    folder = made["coco-ab"]
    found = run_offline(folder, "--repo-id", REPO, dataset_home=folder.parent)
    assert found.returncode == 1 and found.stdout == ""
    (line,) = found.stderr.splitlines()
    assert line.startswith(f"Error: {REPO}: the Hub refused") and "HF_HUB_OFFLINE" in line
    assert "nothing was uploaded" in line
