"""croissant.json: the dataset in MLCommons' Croissant 1.1, with its Responsible AI properties.

Plain JSON-LD from the schema and the manifest, so nothing has to be installed to write it;
`mlcroissant validate --jsonld croissant.json` (extra `croissant`) accepts it. The record sets read
the Parquet files beside it; each file stands in it with size and sha256.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from luab_data.hub.about import About, creators, licence_url
from luab_data.hub.card import privacy
from luab_data.kinds import about_of, kind_of, tables_of
from luab_data.schema import Column, Table

PARQUET = "application/x-parquet"

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{
        key: f"cr:{key}"
        for key in (
            *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract"),
            *("field", "fileProperty", "fileObject", "fileSet", "format", "includes", "isArray"),
            *("isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
            *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source"),
            *("subField", "transform"),
        )
    },
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
"""The standard @context of Croissant 1.1."""

_TYPES = {
    "string": "sc:Text",
    "bool": "sc:Boolean",
    "int16": "cr:Int16",
    "int32": "cr:Int32",
    "int64": "cr:Int64",
    "float": "cr:Float32",
    "double": "cr:Float64",
}


def croissant(
    manifest: Mapping[str, Any],
    *,
    sizes: Mapping[str, int],
    url: str,
    date: str,
    statistics: Mapping[str, Any],
) -> dict[str, Any]:
    """The JSON-LD of a dataset folder.

    Args:
        manifest: of the dataset; `files` gives the checksums.
        sizes: path in the folder -> bytes, at least of the Parquet files.
        url: where the dataset is published.
        date: day of publication, YYYY-MM-DD.
        statistics: the numbers of `luab-data stats`.
    """
    about = about_of(manifest)
    tables = tables_of(manifest)
    images, events, annotators = ([column.name for column in table.columns] for table in tables)
    numbers = [name for name in ("round", "view") if name in events]
    keys = (kind_of(manifest).key, [images[0], *numbers], annotators[:1])
    files = {
        name: digest for name, digest in manifest["files"].items() if name.endswith(".parquet")
    }
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "name": about.title,
        "description": f"{about.description} The images themselves are not included.",
        "license": licence_url(about.license),
        "url": url,
        **({"sameAs": [about.url]} if about.url and not about.is_own else {}),
        "version": manifest["version"],
        "datePublished": date,
        "citeAs": about.citation or f"{about.title}, version {manifest['version']}, {url}",
        "creator": [_creator(who) for who in creators(about)],
        "keywords": list(about.keywords),
        "isLiveDataset": False,
        **_responsible(about, manifest, statistics),
        "distribution": [
            *(_file_object(name, files[name], sizes[name]) for name in sorted(files)),
            *(_file_set(table) for table in tables),
        ],
        "recordSet": [
            *(_record_set(table, key) for table, key in zip(tables, keys, strict=True)),
            *_enumerations(tables, manifest["classes"]),
        ],
    }


def _responsible(
    about: About, manifest: Mapping[str, Any], statistics: Mapping[str, Any]
) -> dict[str, Any]:
    """The RAI vocabulary 1.0: how it was collected, what is wrong with it, whom it concerns.

    All of its properties but `dataCollectionTimeFrame`: clocks of workers are no record of when.
    """
    others = "no other value is changed"
    if manifest.get("hashed"):
        others = "so are other values that told who a worker is; nothing else is changed"
    paper = f" ({about.paper})" if about.paper else ""
    source, rows = manifest["source"], manifest["num_rows"]
    simulated, crowd = manifest.get("simulated", False), about.creators == "crowdsourced"
    images, events, _ = tables_of(manifest)
    skipped, luab = sum(manifest["skipped"].values()), f"luab {manifest['versions']['luab']}"
    per_item = rows[events.config] / rows[images.config] if rows[images.config] else 0
    counts = kind_of(manifest).statistics.counts
    shown = [f"{n}: {v:.4f} ({counts[n].title})" for n, v in statistics.items()
             if isinstance(v, float)]  # fmt: skip
    return {
        "rai:dataCollection": " ".join(about.collection),
        "rai:dataCollectionType": ["Others"]
        if simulated
        else [*(["Crowdsourcing"] if crowd else []), "User behaviour logging"],
        "rai:dataCollectionRawData": f"{source['name']}, sha256 {source['sha256']}",
        "rai:dataCollectionMissingData": f"{skipped:,} records of the log are left out, each listed"
        " in skipped.jsonl. Null means not logged or not known, as each field says.",
        "rai:dataImputationProtocol": "Nothing is imputed: what is missing is null.",
        "rai:dataPreprocessingProtocol": [
            f"Converted by {luab}. Raw columns are the log's values; derived columns are computed"
            " from them by the rule in their description."
        ],
        "rai:dataManipulationProtocol": "Worker ids are replaced by keyed hashes"
        f" ({manifest['worker_ids']['method']}); {others}.",
        "rai:dataAnnotationProtocol": [about.collection[0]],
        "rai:dataAnnotationPlatform": [luab] if simulated else list(about.platforms),
        "rai:dataAnnotationAnalysis": shown,
        "rai:annotationsPerItem": f"{per_item:.2f} on average: {rows[events.config]:,} rows of"
        f" `{events.config}` for {rows[images.config]:,} images, by {rows['annotators']:,}"
        " annotators",
        "rai:annotatorDemographics": [about.annotators],
        "rai:machineAnnotationTools": [
            luab if simulated else f"None; {luab} computes derived columns by fixed rules"
        ],
        "rai:dataBiases": [f"{name}. {text}" for name, text in about.biases],
        "rai:dataLimitations": [f"{name}. {text}" for name, text in about.limits],
        "rai:personalSensitiveInformation": [privacy(manifest).replace("**", "")],
        "rai:dataSocialImpact": "Shows how people annotate, which helps to judge labels and to pay"
        " and instruct annotators fairly. Mouse paths and times could be misused to rate or to"
        " recognise workers; do not.",
        "rai:dataUseCases": [
            "Auxiliary supervision of image classifiers and localisation; study of annotators'"
            f" behaviour{paper}. Not for identifying or rating people."
        ],
        "rai:dataReleaseMaintenancePlan": "A version is 1.0.N, where N changes with the rows, and a"
        " tag of the repository. Records that somebody asks to have removed are left out of the log"
        " and the rest is published again under the same key.",
    }


def _creator(who: Mapping[str, str]) -> dict[str, str]:
    """A person or a group of CITATION.cff."""
    if "name" in who:
        return {"@type": "sc:Organization", "name": who["name"]}
    return {"@type": "sc:Person", "name": f"{who['given-names']} {who['family-names']}"}


def _named(type: str, name: str, **more: Any) -> dict[str, Any]:
    """A node that is called as its id."""
    return {"@type": type, "@id": name, "name": name, **more}


def _file_object(name: str, digest: str, size: int) -> dict[str, Any]:
    return _named(
        "cr:FileObject", name, contentUrl=name, contentSize=f"{size} B", encodingFormat=PARQUET,
        sha256=digest,
    )  # fmt: skip


def _file_set(table: Table) -> dict[str, Any]:
    return _named(
        "cr:FileSet", f"{table.config}-files",
        description=f"Parquet files of the config {table.config}.", encodingFormat=PARQUET,
        includes=f"{table.folder}/train-*.parquet",
    )  # fmt: skip


def _record_set(table: Table, keys: Sequence[str]) -> dict[str, Any]:
    return _named(
        "cr:RecordSet", table.config, description=f"One record per {table.row}.",
        key=[{"@id": f"{table.config}/{key}"} for key in keys],
        field=[_field(table, column) for column in table.columns],
    )  # fmt: skip


def _field(table: Table, column: Column) -> dict[str, Any]:
    item, depth = column.type, 0
    while pa.types.is_list(item):
        item, depth = item.value_type, depth + 1
    unit = f" [{column.unit}]" if column.unit else ""
    names = f" Named in {table.config}-{column.name}-names." if column.classes else ""
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{table.config}/{column.name}",
        "name": column.name,
        "description": f"{column.doc}{unit}.{names}",
        "dataType": _TYPES[str(item)],
        "source": {
            "fileSet": {"@id": f"{table.config}-files"},
            "extract": {"column": column.name},
        },
    }
    if depth:
        field |= {"isArray": True, "arrayShape": ",".join(["-1"] * depth)}
    return field


def _enumerations(tables: tuple[Table, ...], wnids: list[str]) -> Iterator[dict[str, Any]]:
    """A record set of label and name for every column whose integers are labels."""
    for table in tables:
        for column in table.columns:
            if not (names := column.class_names(wnids)):
                continue
            own = f"{table.config}-{column.name}-names"
            fields = [
                {"@type": "cr:Field", "@id": f"{own}/{name}", "name": name, "dataType": kind}
                for name, kind in (("label", "cr:Int64"), ("name", "sc:Text"))
            ]
            data = [{f"{own}/label": k, f"{own}/name": name} for k, name in enumerate(names)]
            yield _named(
                "cr:RecordSet", own,
                description=f"Names of the labels in {table.config}/{column.name}.",
                dataType="sc:Enumeration", key={"@id": f"{own}/label"}, field=fields, data=data,
            )  # fmt: skip
