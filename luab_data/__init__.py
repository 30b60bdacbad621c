"""Annotation byproducts as datasets: raw logs of ImageNet-AB and COCO-AB in, typed Parquet out.

Every verb of the command line is a function here, with the same words and defaults; each is
imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luab_data import splits as splits
    from luab_data.acceptance.accept import accept as accept
    from luab_data.attention import agreement as agreement
    from luab_data.attention.points import join_attention as join_attention
    from luab_data.behaviour.consensus import consensus as consensus
    from luab_data.behaviour.difficulty import difficulty as difficulty
    from luab_data.boxes import LabelledImage as LabelledImage
    from luab_data.boxes import read_boxes as read_boxes
    from luab_data.boxes import read_labelled_images as read_labelled_images
    from luab_data.calibration.calibrate import calibrate as calibrate
    from luab_data.checks.check import check as check
    from luab_data.collect.verbs import collect_demo as collect_demo
    from luab_data.collect.verbs import collect_export as collect_export
    from luab_data.collect.verbs import collect_init as collect_init
    from luab_data.collect.verbs import collect_invite as collect_invite
    from luab_data.collect.verbs import collect_next_round as collect_next_round
    from luab_data.collect.verbs import collect_pay as collect_pay
    from luab_data.collect.verbs import collect_serve as collect_serve
    from luab_data.collect.verbs import collect_status as collect_status
    from luab_data.convert import convert_coco as convert_coco
    from luab_data.convert import convert_imagenet as convert_imagenet
    from luab_data.derivation import derive as derive
    from luab_data.errors import LuabError as LuabError
    from luab_data.exports import export as export
    from luab_data.figures.catalogue import draw as draw
    from luab_data.hub.upload import publish as publish
    from luab_data.importers.clicks import convert_clicks as convert_clicks
    from luab_data.importers.clicks import convert_records as convert_records
    from luab_data.importers.convert import convert_from as convert_from
    from luab_data.join import join_images as join_images
    from luab_data.provenance import trace as trace
    from luab_data.reports import report as report
    from luab_data.reports.clicks import clicks as clicks
    from luab_data.simulate.coco import simulate_coco as simulate_coco
    from luab_data.simulate.imagenet import simulate_imagenet as simulate_imagenet
    from luab_data.statistics.dataset import stats as stats
    from luab_data.store.load import find_dataset as find_dataset
    from luab_data.store.load import load_dataset as load_dataset
    from luab_data.store.load import read_table as read_table
    from luab_data.views.convert import convert_browsing as convert_browsing
    from luab_data.views.convert import convert_tagging as convert_tagging
    from luab_data.views.convert import convert_tracing as convert_tracing
    from luab_data.views.validate import validate as validate
    from luab_data.workers.annotators import annotators as annotators

_PUBLIC = {
    "LabelledImage": "boxes",
    "LuabError": "errors",
    "accept": "acceptance.accept",
    "agreement": "attention",
    "annotators": "workers.annotators",
    "calibrate": "calibration.calibrate",
    "check": "checks.check",
    "clicks": "reports.clicks",
    "collect_demo": "collect.verbs",
    "collect_export": "collect.verbs",
    "collect_init": "collect.verbs",
    "collect_invite": "collect.verbs",
    "collect_next_round": "collect.verbs",
    "collect_serve": "collect.verbs",
    "collect_pay": "collect.verbs",
    "collect_status": "collect.verbs",
    "consensus": "behaviour.consensus",
    "convert_browsing": "views.convert",
    "convert_clicks": "importers.clicks",
    "convert_coco": "convert",
    "convert_from": "importers.convert",
    "convert_imagenet": "convert",
    "convert_records": "importers.clicks",
    "convert_tagging": "views.convert",
    "convert_tracing": "views.convert",
    "derive": "derivation",
    "difficulty": "behaviour.difficulty",
    "draw": "figures.catalogue",
    "export": "exports",
    "find_dataset": "store.load",
    "join_attention": "attention.points",
    "join_images": "join",
    "load_dataset": "store.load",
    "publish": "hub.upload",
    "read_boxes": "boxes",
    "read_labelled_images": "boxes",
    "read_table": "store.load",
    "report": "reports",
    "simulate_coco": "simulate.coco",
    "simulate_imagenet": "simulate.imagenet",
    "stats": "statistics.dataset",
    "trace": "provenance",
    "validate": "views.validate",
}
"""Public name -> the module it is defined in."""

__all__ = [*_PUBLIC, "splits"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("luab")
        except PackageNotFoundError:  # a checkout that nobody installed
            return "0+unknown"
    if name == "splits":
        return import_module("luab_data.splits")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'luab_data' has no attribute {name!r}")
    found = getattr(import_module(f"luab_data.{_PUBLIC[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
