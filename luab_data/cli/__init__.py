"""The `luab-data` command: each verb parses, calls one function, prints.

One file a verb; heavy imports wait inside the functions, so that --help answers at once.
"""

from __future__ import annotations

import signal
import sys

import click

from luab_data.cli.accept import accept
from luab_data.cli.annotators import annotators
from luab_data.cli.calibrate import calibrate
from luab_data.cli.check import check
from luab_data.cli.convert import convert
from luab_data.cli.derive import derive
from luab_data.cli.export import export
from luab_data.cli.process import suit_conversion
from luab_data.cli.publish import publish
from luab_data.cli.report import report
from luab_data.cli.simulate import simulate
from luab_data.cli.stats import stats
from luab_data.cli.trace import trace
from luab_data.cli.where import where
from luab_data.console import LuabGroup, terminate


@click.group(cls=LuabGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="luab")
def main() -> None:
    """Annotation byproducts: raw logs in, datasets out."""


for _command in (
    accept,
    annotators,
    calibrate,
    check,
    convert,
    derive,
    export,
    publish,
    report,
    stats,
    trace,
    where,
    simulate,
):
    main.add_command(_command)


def run() -> None:
    """The entry point of the process: what is main, and a process that suits it."""
    signal.signal(signal.SIGTERM, terminate)
    if sys.argv[1:2] == ["convert"]:
        suit_conversion()
    main()
