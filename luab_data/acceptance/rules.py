"""The paper's rules for accepting an assignment: names, minima, and why the log may not tell.

Source: metrics 4.13.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. Rejects if what is measured is less than the minimum.

    Attributes:
        name: key in JSON and tables.
        title: what is measured, in words.
        minimum: None for the rule of the survey code, which measures nothing.
        unknown: why it may be undecided.
    """

    name: str
    title: str
    minimum: float | None
    unknown: str


_CODE = Rule(
    name="code",
    title="record missing and survey code wrong",
    minimum=None,
    unknown="the list of codes does not say",
)
RULES: dict[str, tuple[Rule, ...]] = {
    "imagenet-ab": (
        Rule(
            name="recall",
            title="recall of the assigned originals",
            minimum=0.333,
            unknown="the page of some originals is not logged",
        ),
        Rule(
            name="selections",
            title="selections among the 480 pictures",
            minimum=30,
            unknown="only originals are in the log, 120 of the 480",
        ),
        Rule(
            name="pages",
            title="pages of 10",
            minimum=9,
            unknown="the page of some originals is not logged",
        ),
        _CODE,
    ),
    "coco-ab": (
        Rule(
            name="recall",
            title="mean class recall of the pages",
            minimum=0.333,
            unknown="no page has ground truth with a class in it",
        ),
        Rule(
            name="icon_accuracy",
            title="share of the final icons on their class",
            minimum=0.75,
            unknown="no icon on a page with ground truth",
        ),
        Rule(name="pages", title="pages of 20", minimum=16, unknown=""),
        _CODE,
    ),
}
