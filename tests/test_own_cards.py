"""What a dataset that is no release says of itself, and what of people does not leave with it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result
from logs import KEY, action, archive, block, coco_log, coco_record, files, xml

import luab_data
from luab_data import cli, views
from luab_data.errors import DatasetError, OptionError
from luab_data.hub import own
from luab_data.hub.about import (
    About,
    authors,
    bibtex_fields,
    citation_cff,
    hub_licence,
    licence_url,
    spdx_id,
)
from luab_data.hub.card import complete
from luab_data.hub.upload import publish
from luab_data.hub.vet import vet
from luab_data.importers import MODULES, importer
from luab_data.kinds import about_of, tables_of
from luab_data.raw.private import addresses, screened
from luab_data.raw.worker_ids import WorkerHash
from luab_data.store.folder import read_manifest
from luab_data.store.shards import Shard

BIBTEX = """@article{doe2025,
  author = {Doe, Jane and Ludwig van Beethoven and {The {Cat} Lab} and others},
  title = "Where {C}ats look",
  journal = {Journal of Cats}, year = 2025, month = mar,
  pages = {1--9}, doi = {10.1000/cats}
}"""
OWN = About(
    title="Cats of the lab",
    description="Where people click on cats.",
    collected_by="The Cat Lab",
    url="https://cats.example/data",
    license="CC-BY-SA-4.0",
)
FIDELITY = {"has_path": 0, "has_time": 6, "has_clock": 2, "has_layout": 6, "has_annotator": 6}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = [f"n00000001_{i}" for i in range(6)]
    records = {name: xml(name, [block(clicks=[(9, 0.1, 0.5)])]) for name in names}
    return archive(tmp_path_factory.mktemp("log") / "raw.tar.gz", records)


def made(log: Path, out: Path, about: About, **more: Any) -> Path:
    """A dataset of somebody's own, sealed as every builder seals one."""
    luab_data.convert_imagenet(log, out, worker_key=KEY)
    manifest = read_manifest(out)
    (out / "legacy" / "imagenet_ab.py").unlink()
    (out / "legacy").rmdir()
    for name in ("README.md", "SHA256SUMS", "manifest.json"):
        (out / name).unlink()
    kept = {
        key: manifest[key] for key in ("dataset", "source", "worker_ids", "skipped", "versions")
    }
    complete(
        out,
        out,
        about={**kept, "unknown": {}, "collection": about.as_collection(), **more},
        shards={c: [Shard(**one) for one in some] for c, some in manifest["shards"].items()},
        schemas={table.config: table.schema() for table in tables_of(manifest)},
        wnids=manifest["classes"],
    )
    return out


def sent(folder: Path, tmp_path: Path, **options: Any) -> dict[str, bytes]:
    """What would lie on the Hub."""

    class Hub:
        def create_repo(self, repo_id: str, **_: Any) -> str:
            return f"https://huggingface.co/datasets/{repo_id}"

        def dataset_info(self, repo_id: str) -> Any:
            return type("Info", (), {"private": False})()

        def upload_folder(self, *, folder_path: Path, **_: Any) -> None:
            self.files = files(folder_path)

        def create_tag(self, *_: Any, **__: Any) -> None:
            pass

    hub = Hub()
    publish(folder, "lab/cats", api=hub, date="2026-12-01", **options)  # type: ignore[arg-type]
    return hub.files


def test_own_data_carry_their_owners_words_and_nothing_of_the_releases(log: Path, tmp_path: Path):
    folder = made(log, tmp_path / "cats", OWN, fidelity=FIDELITY)
    assert luab_data.check(folder).whole and not (folder / "legacy").exists()
    published = sent(folder, tmp_path)
    for card in ((folder / "README.md").read_text(), published["README.md"].decode()):
        matter = yaml.safe_load(card.split("---\n")[1])
        assert (matter["pretty_name"], matter["license"]) == ("Cats of the lab", "cc-by-sa-4.0")
        assert "annotations_creators" not in matter and matter["source_datasets"] == ["original"]
        assert "# Cats of the lab 1.0." in card and "\nWhere people click on cats. " in card
        assert "[Home page](https://cats.example/data)" in card
        assert "Collected by The Cat Lab." in card and "under: CC-BY-SA-4.0." in card
        assert "- **No path.** `has_path`: 0 of 6 views." in card
        assert "- **Clock of some views only.** `has_clock`: 2 of 6 views." in card
        assert "has_time" not in card and "has_layout" not in card
    cff = yaml.safe_load(published["CITATION.cff"])
    assert (cff["title"], cff["license"]) == ("Cats of the lab", "CC-BY-SA-4.0")
    assert cff["authors"] == [{"name": "The Cat Lab"}] and "preferred-citation" not in cff
    croissant = json.loads(published["croissant.json"])
    assert croissant["license"] == "https://spdx.org/licenses/CC-BY-SA-4.0.html"
    assert croissant["creator"] == [{"@type": "sc:Organization", "name": "The Cat Lab"}]
    assert croissant["citeAs"].startswith("Cats of the lab, version 1.0.")
    assert "sameAs" not in croissant
    for name in ("README.md", "CITATION.cff", "croissant.json"):
        text = published[name].decode()
        for theirs in ("2303.17595", "Neglected", "Han", "ImageNet", "Mechanical", "[Release]"):
            assert theirs not in text, (name, theirs)


def test_another_projects_citation_goes_into_all_three_files(log: Path, tmp_path: Path):
    about = replace(
        OWN, source="cats-importer", citation=BIBTEX, collected_by="", paper="https://p"
    )
    published = sent(made(log, tmp_path / "cats", about), tmp_path)
    assert f"```bibtex\n{BIBTEX}\n```" in published["README.md"].decode()
    assert "[Paper](https://p) · [Source](https://cats.example/data)" in str(
        published["README.md"], "utf-8"
    )
    cff = yaml.safe_load(published["CITATION.cff"])
    assert cff["title"] == "Cats of the lab, converted by luab"
    people = [
        {"family-names": "Doe", "given-names": "Jane"},
        {"family-names": "Beethoven", "given-names": "Ludwig van"},
        {"name": "The Cat Lab"},
    ]
    assert cff["authors"] == people
    assert cff["preferred-citation"] == {
        **{"type": "article", "title": "Where Cats look", "authors": people},
        **{"journal": "Journal of Cats", "year": 2025, "month": 3, "start": "1", "end": "9"},
        **{"doi": "10.1000/cats", "url": "https://p"},
    }
    croissant = json.loads(published["croissant.json"])
    assert croissant["citeAs"] == BIBTEX and croissant["sameAs"] == ["https://cats.example/data"]
    assert [who["name"] for who in croissant["creator"]][:2] == ["Jane Doe", "Ludwig van Beethoven"]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_importer_says_what_its_data_are(name: str):
    """Data of others with their title and citation; exports of a tool are the user's own."""
    about = importer(name).about
    cited = bibtex_fields(about.citation)
    assert about.description.endswith(".") and about.limits and about.source == name
    assert hub_licence(about.license)["license"] != "other"
    assert about.is_own == (not cited) == (not about.title) == (not about.url)
    if cited:
        assert authors(cited) and cited["title"] and cited["year"].isdecimal()
        cff = yaml.safe_load(citation_cff(about, version="1.0.1", url="https://x") or "")
        assert cff["preferred-citation"]["year"] == int(cited["year"])
    said = {**about.as_collection(), "title": "My cats"}
    assert About.of_collection(json.loads(json.dumps(said))).limits == about.limits


def test_the_card_knows_every_flag_of_fidelity():
    assert [*own.LACKS] == [*views.FIDELITY]


def test_what_decides_and_whom_it_is_about(log: Path, tmp_path: Path):
    nobody = {"deciding": "all", "fidelity": {"has_annotator": 0}}
    card = (made(log, tmp_path / "cats", OWN, **nobody) / "README.md").read_text()
    assert "several people saw, `default` has what the rule `all` says." in card
    assert "The data do not name their annotators." in card and "is HMAC" not in card
    assert "- **No annotators.** `has_annotator`: 0 of 6 views." in card


def test_simulated_own_data_say_so_first(log: Path, tmp_path: Path):
    folder = made(log, tmp_path / "cats", OWN, simulated=True)
    card = (folder / "README.md").read_text().split("---\n")[2]
    heading, first = card.split("\n\n")[:2]
    assert "simulated" in heading and first.startswith("Simulated: nobody annotated anything.")


def test_without_a_licence_nothing_is_published(log: Path, tmp_path: Path):
    folder = made(log, tmp_path / "cats", replace(OWN, license="", collected_by=""))
    before = files(folder)
    card = (folder / "README.md").read_text()
    assert "license: unknown\n" in card and "gave no licence: ask" in card
    for refused in (None, "unknown"):
        with pytest.raises(DatasetError, match=r"names no licence.*--license"):
            publish(folder, "lab/cats", dry_run=True, license=refused)
    published = sent(folder, tmp_path, license="odc-by")
    assert "license: odc-by\n" in published["README.md"].decode()
    assert json.loads(published["manifest.json"])["collection"]["license"] == "odc-by"
    assert "CITATION.cff" not in published  # it would have to name somebody
    assert files(folder) == before
    other = made(log, tmp_path / "other", OWN)
    with pytest.raises(OptionError, match=r"under CC-BY-SA-4\.0 already"):
        publish(other, "lab/cats", dry_run=True, license="mit")
    publish(other, "lab/cats", dry_run=True, license="cc-by-sa-4.0")


@pytest.mark.parametrize(
    ("given", "matter", "spdx", "url"),
    [
        ("", {"license": "unknown"}, "", ""),
        ("CC-BY-4.0", {"license": "cc-by-4.0"}, "CC-BY-4.0", "https://spdx.org/licenses/CC-BY-4.0.html"),
        ("ODC-By-1.0", {"license": "odc-by"}, "ODC-By-1.0", "https://spdx.org/licenses/ODC-By-1.0.html"),
        ("Ask us!", {"license": "other", "license_name": "ask-us"}, "", "Ask us!"),
        (
            "https://a.example/terms",
            {
                **{"license": "other", "license_name": "https-a.example-terms"},
                "license_link": "https://a.example/terms",
            },
            "",
            "https://a.example/terms",
        ),
    ],
)  # fmt: skip
def test_names_of_a_licence(given: str, matter: dict[str, str], spdx: str, url: str):
    assert (hub_licence(given), spdx_id(given), licence_url(given)) == (matter, spdx, url)


@pytest.mark.parametrize(
    "text", ["", "Doe et al., 2025", "@article{a, title = {never closed", "@x{k,"]
)
def test_a_citation_that_is_no_entry_is_text(text: str):
    assert authors(bibtex_fields(text)) == []


def test_what_is_said_of_a_collection_survives_the_manifest():
    about = replace(OWN, limits=(("Colour", "Cats were grey."),), collection=("First.", "Then."))
    stored = json.loads(json.dumps({**about.as_collection(), "of_a_newer_luab": 1}))
    assert set(stored) == {
        *("title", "description", "collected_by", "url", "license", "limits", "collection"),
        *("source", "of_a_newer_luab"),
    }
    assert About.of_collection(stored) == about
    manifest = {"dataset": "imagenet-ab", "collection": {"title": 7}, "num_rows": {"rounds": 0}}
    with pytest.raises(DatasetError, match="collection: Expected `str`"):
        about_of(manifest)


# --- what of people does not leave ---------------------------------------------------------------

MAIL, MTURK = "ann@lab.example", "A2SUAM7FEUQ9M1"
WORKERS = (MAIL, MTURK, "violet", "1234567", "12345678", "7")
SESSIONS = (
    *("s0", f"x{MTURK.lower()}-2", "ultraviolet", "no1234567", "is:12345678", "page 7"),
    *(MAIL, MTURK, "by violet.", "see icon@2x.png", "at%20is: Bob%40mail.lab.example?", "7"),
)
TOLD = (0, 1, 0, 0, 1, 0, 1, 1, 1, 0, 1, 0)
"""Whether each session tells who its worker is: WORKERS twice."""


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log whose assignment ids tell who workers are."""
    records = {}
    for i, session in enumerate(SESSIONS):
        shown = block(clicks=[(9, 0.1, 0.5)], worker=WORKERS[i % 6], assignment_id=session)
        records[f"n00000001_{i}"] = xml(f"n00000001_{i}", [shown])
    return archive(tmp_path_factory.mktemp("telling") / "raw.tar.gz", records)


def command(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [*map(str, arguments)])


def test_what_tells_who_a_worker_is_is_counted_named_and_refused(telling: Path, tmp_path: Path):
    out = tmp_path / "imagenet-ab"
    done = command("convert", "imagenet-ab", telling, "--out", out)
    assert done.exit_code == 0, done.output
    assert f"(--private hash replaces them): assignment_id {sum(TOLD)}\n" in done.output
    assert read_manifest(out)["private"] == {"assignment_id": sum(TOLD)}
    (rule,) = [f for f in luab_data.check(out, rules=["e-mail-address"]).findings]
    assert (rule.count, rule.examples[0]["image_id"]) == (2, "n00000001_6")
    refused = command("publish", out, "--repo-id", "lab/cats", "--dry-run")
    assert refused.exit_code == 1
    assert "2 of `default/assignment_id`, 2 of `rounds/assignment_id`" in refused.output
    assert "--private hash" in refused.output
    for text in (done.output, refused.output):
        assert not any(secret in text for secret in (MAIL, MTURK, SESSIONS[1], SESSIONS[10]))
    assert publish(out, "lab/cats", dry_run=True, keep=["assignment_id"]).items


def test_ids_alone_are_refused_by_what_the_conversion_found(telling: Path, tmp_path: Path):
    out = luab_data.convert_imagenet(telling, tmp_path / "imagenet-ab", worker_key=KEY).out
    table = pq.read_table(out / "rounds")
    assert table["assignment_id"].to_pylist() == [*SESSIONS]
    (out / "manifest.json").write_text(json.dumps({**read_manifest(out), "private": {"hit_id": 3}}))
    with pytest.raises(DatasetError, match="3 of `hit_id`"):
        vet(out)


def test_hashes_take_the_place_of_exactly_those_values(telling: Path, tmp_path: Path):
    kept, hashed = (
        luab_data.convert_imagenet(telling, tmp_path / how, worker_key=KEY, private=how)  # type: ignore[arg-type]
        for how in ("keep", "hash")
    )
    assert (kept.private, kept.hashed) == ({"assignment_id": sum(TOLD)}, {})
    assert (hashed.private, hashed.hashed) == ({}, {"assignment_id": sum(TOLD)})
    for config in ("rounds", "data"):
        found = pq.read_table(hashed.out / config)["assignment_id"].to_pylist()
        for session, told, value in zip(SESSIONS, TOLD, found, strict=True):
            assert value == (WorkerHash(KEY).text(session) if told else session)
            assert not told or re.fullmatch("anon:[0-9a-f]{16}", value)
    assert luab_data.check(hashed.out).whole
    assert publish(hashed.out, "lab/cats", dry_run=True).items
    card = (hashed.out / "README.md").read_text()
    assert f"told who a worker is: {sum(TOLD)} of `assignment_id`." in card


@pytest.mark.parametrize(
    ("worker", "told", "not_told"),
    [
        ("ann", ["ann", "Ann", "ANN"], ["anna", "by ann", "bob", "", None]),
        ("1234", ["1234"], ["12345", "x1234", "123", "01234", None]),
        ("é1", ["é1"], ["e1", "é12", None]),
        ("7", [], ["7", "77", "page 7", None]),  # a number of 1 to 3 digits counts anything
        ("123", [], ["123"]),
        ("a", [], ["a", "A"]),
    ],
)
def test_a_short_id_tells_only_where_it_is_the_whole_text(
    worker: str, told: list[str], not_told: list[str | None]
):
    hash_worker, texts = WorkerHash(KEY), [*told, *not_told]
    table = pa.table(
        {
            "worker_id": [hash_worker(worker), None] * len(texts),  # null: of nobody known
            "session": pa.array([t for text in texts for t in (text, text)], pa.string()),
            "label": [worker] * 2 * len(texts),  # a class may be called like somebody
            "note": ["the worker", None] * len(texts),
        }
    )
    expected = {"session": len(told)} if told else {}
    assert screened(table, hash_worker).kept == expected
    for kept in (screened(table, None).kept, screened(table.slice(0, 0), hash_worker).kept):
        assert not kept
    found = screened(table, hash_worker, "hash")
    assert (found.hashed, found.kept) == (expected, {})
    changed = pc.fill_null(pc.not_equal(found.table["session"], table["session"]), False)
    assert pc.sum(changed).as_py() == len(told)
    assert found.table.drop(["session"]).equals(table.drop(["session"]))


def test_short_and_long_ids_of_one_column_are_both_found():
    hash_worker = WorkerHash(KEY)
    workers = ["ann", "A2SUAM7FEUQ9M1", "bob", "A2SUAM7FEUQ9M1"]
    table = pa.table(
        {
            "worker_id": [hash_worker(worker) for worker in workers],
            "session": ["ann", "s:A2SUAM7FEUQ9M1", "s:bob", "ann"],
        }
    )
    found = screened(table, hash_worker, "hash")
    assert found.hashed == {"session": 2}
    assert found.table["session"].to_pylist()[2:] == ["s:bob", "ann"]


def test_names_of_images_are_refused_not_replaced(tmp_path: Path):
    """Pictures and tables are joined by them."""
    record = coco_record(1, [action("add", "dog", (0.5, 0.5))], worker_id=MTURK, hit_id="x" + MAIL)
    record["imageURL"] = MAIL
    log = coco_log(tmp_path / f"{MAIL}.json", [record])
    done = luab_data.convert_coco(log, tmp_path / "coco-ab", worker_key=KEY, private="hash")
    assert done.hashed == {"hit_id": 1} and not done.private
    with pytest.raises(DatasetError, match=r": 1 of `manifest\.json/source`; expected"):
        vet(done.out)  # the file's name stands in the card


def test_slices_nulls_and_nothing_are_looked_at_alike():
    texts = pa.array([MAIL, None, "b@c", "", "x%40y.org", "icon@2x.png"])
    odd = [True, False, False, False, True, False]
    found = addresses(texts)
    assert found is not None and found.to_pylist() == odd
    for start, length in ((0, 1), (1, 1), (1, 4), (2, 3), (3, 1), (6, 0)):
        flags = addresses(texts.slice(start, length))
        wanted = odd[start : start + length]
        assert (flags.to_pylist() if flags is not None else [False] * length) == wanted
    assert addresses(texts.slice(3, 1)) is None and addresses(pa.nulls(2, pa.string())) is None


def own_log(path: Path, kind: str) -> Path:
    """Two people look at two pictures each; one page tells who it was, one picture's name too."""
    looks: dict[str, Any] = {
        "browsing": {"asked": {"class": "cat"}, "selected": True, "events": []},
        "tagging": {"events": [{"type": "add", "t": 1, "x": 0.5, "y": 0.5, "label": "cat"}]},
        "tracing": {"events": [{"type": "click", "t": 1, "x": 0.5, "y": 0.5}]},
    }
    views = [
        {"byproducts": 1, "kind": kind, "image": {"id": image}, "annotator": who, **looks[kind],
         "session": f"s-{who}" if who == MTURK else "one"}
        for who in (MTURK, "p2") for image in ("a", f"of {MTURK}")
    ]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, views)))
    return path


@pytest.mark.parametrize("kind", ["browsing", "tagging", "tracing"])
def test_own_logs_of_every_kind_are_screened_and_published(kind: str, tmp_path: Path):
    log, out = own_log(tmp_path / "log.jsonl", kind), tmp_path / "cats"
    convert = getattr(luab_data, f"convert_{kind}")
    done = convert(log, out, worker_key=KEY, license="mit", title="Cats of\nthe lab")
    assert sum(done.private.values()) == 3 and done.private["image_id"] == 1
    done = convert(log, out, worker_key=KEY, license="mit", private="hash", force=True)
    assert sum(done.hashed.values()) == 2 and done.private == {"image_id": 1}
    with pytest.raises(DatasetError, match="1 of `image_id`; expected none"):
        vet(out)
    published = sent(out, tmp_path, keep=["image_id"])
    assert "CITATION.cff" not in published and b"license: mit" in published["README.md"]
    records = json.loads(published["croissant.json"])["recordSet"]
    keys = {r["name"]: [k["@id"].partition("/")[2] for k in r["key"]] for r in records[:3]}
    several = {"browsing": "round", "tagging": "view", "tracing": "view"}[kind]
    name = next(iter(keys.keys() - {"default", "annotators"}))
    assert keys[name] == ["image_id", several] and keys["annotators"] == ["worker_id"]
    assert keys["default"] == ["image_id", *(["view"] if kind == "tracing" else [])]
