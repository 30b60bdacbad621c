"""What HITs cost and what they pay an hour. Money in USD, times in ms, shares in [0, 1].

Source: metrics 4.14. The paper's two rejection rates have different denominators (ImageNet-AB: of
the submitted, COCO-AB: of the accepted), so both are given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from luab_data.errors import OptionError

REWARD_USD = {"imagenet-ab": 1.5, "coco-ab": 2.0}
FEE = 0.2
"""What MTurk takes of every reward on top."""

_MS_PER_HOUR = 3_600_000
_PER_HIT = 120


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What some HITs cost.

    Attributes:
        reward_usd, fee: of one HIT, and the share on top.
        num_submitted: all of them; the accepted ones are paid.
        rewards_usd, fees_usd, total_usd: for the accepted ones.
        undecided_usd: what the undecided ones would add to the total if all were accepted.
        median_hit_ms: over the `num_timed` HITs whose duration is known; None if none is.
        hourly_wage_usd: reward of a HIT of that duration; None without it, or if it is 0.
        rejected_of_submitted, rejected_of_accepted: None where there is nothing to divide by.
    """

    reward_usd: float
    fee: float
    num_submitted: int
    num_accepted: int
    num_rejected: int
    num_undecided: int
    rewards_usd: float
    fees_usd: float
    total_usd: float
    undecided_usd: float
    num_timed: int
    median_hit_ms: float | None
    hourly_wage_usd: float | None
    rejected_of_submitted: float | None
    rejected_of_accepted: float | None


def cost(
    *,
    num_accepted: int,
    num_rejected: int,
    num_undecided: int = 0,
    reward_usd: float,
    fee: float = FEE,
    median_hit_ms: float | None = None,
    num_timed: int = 0,
) -> Cost:
    """Cost, wage and rejection rates of HITs of one reward.

    Raises:
        OptionError: a reward or a fee that is negative or not a number.
    """
    check_money(reward_usd, fee)
    num_submitted = num_accepted + num_rejected + num_undecided
    rewards, undecided = num_accepted * reward_usd, num_undecided * reward_usd
    return Cost(
        reward_usd=reward_usd,
        fee=fee,
        num_submitted=num_submitted,
        num_accepted=num_accepted,
        num_rejected=num_rejected,
        num_undecided=num_undecided,
        rewards_usd=rewards,
        fees_usd=rewards * fee,
        total_usd=rewards * (1 + fee),
        undecided_usd=undecided * (1 + fee),
        num_timed=num_timed,
        median_hit_ms=median_hit_ms,
        hourly_wage_usd=None if median_hit_ms is None else hourly_wage(reward_usd, median_hit_ms),
        rejected_of_submitted=_share(num_rejected, num_submitted),
        rejected_of_accepted=_share(num_rejected, num_accepted),
    )


def check_money(reward_usd: float, fee: float) -> None:
    """OptionError for a reward or a fee that is negative or not a number."""
    for name, value in (("reward", reward_usd), ("fee", fee)):
        if not 0 <= value < math.inf:
            raise OptionError(f"{name} is {value}; expected a number that is not negative")


def hourly_wage(reward_usd: float, hit_ms: float) -> float | None:
    """USD an hour for HITs of one reward and duration; None if that is not positive."""
    return reward_usd / (hit_ms / _MS_PER_HOUR) if hit_ms > 0 else None


def hits_needed(num_images: int, per_hit: int = _PER_HIT) -> float:
    """HITs that show so many images once, in fractions of a HIT: the paper drops the last one."""
    return num_images / per_hit


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
