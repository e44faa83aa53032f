"""Tables of scores on the same units."""

import json

import numpy as np
import pytest

from oceanvar.errors import ConfigError
from oceanvar.metrics import root_mean_square, score_table, squares_by_group


def test_ratios_pair_the_same_units() -> None:
    units = [
        {"a": {"r_score": 0.5 * each, "lambda_x": np.nan}, "b": {"r_score": each, "lambda_x": 1.0}}
        for each in (0.1, 0.4, 0.2)
    ]
    result = score_table(units, {"a / b": ("a", "b")})
    ratio = result["ratios"]["a / b"]
    assert ratio["r_score"]["ratio"] == pytest.approx(0.5)
    assert ratio["r_score"]["interval"] == pytest.approx((0.5, 0.5))
    assert "lambda_x" not in ratio
    assert result["scores"]["a"]["lambda_x"] == {"mean": None, "n_units": 0}


def test_means_of_two_units_have_the_interval_of_their_two_values() -> None:
    result = score_table([{"a": {"mu": 1.0, "rmse": 2.0}}, {"a": {"mu": 3.0, "rmse": np.inf}}], {})
    # A resample of two units is both of them half of the time, and one of them twice in a quarter each.
    assert result == {
        "scores": {
            "a": {
                "mu": {"mean": 2.0, "n_units": 2, "interval": (1.0, 3.0)},
                "rmse": {"mean": 2.0, "n_units": 1},
            }
        },
        "ratios": {},
    }
    json.dumps(result)


def test_a_ratio_is_one_of_means_over_units_with_both_scores() -> None:
    units = [
        {"a": {"mu": 1.0}, "b": {"mu": 2.0}},
        {"a": {"mu": 9.0}, "b": {}},
        {"a": {"mu": 3.0}, "b": {"mu": 6.0}},
    ]
    ratio = score_table(units, {"half": ("a", "b")}, keys=["mu"])["ratios"]["half"]["mu"]
    assert ratio == {"ratio": 0.5, "interval": (0.5, 0.5), "n_units": 2}


def test_tables_of_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one unit"):
        score_table([], {})
    with pytest.raises(ConfigError, match=r"no scores of \['c'\]"):
        score_table([{"a": {"mu": 1.0}}], {"a / c": ("a", "c")})


def test_squares_come_apart_by_group_in_sorted_order() -> None:
    found = squares_by_group([1.0, -2.0, 3.0, np.nan], [7, 2, 7, 2])
    np.testing.assert_array_equal(found[0], [4.0, np.nan])
    np.testing.assert_array_equal(found[1], [1.0, 9.0])
    with pytest.raises(ConfigError, match="as many groups"):
        squares_by_group([1.0], [1, 2])


def test_a_root_mean_square_has_the_roots_of_the_interval_of_the_mean() -> None:
    assert root_mean_square([9.0, 9.0, 9.0]) == (3.0, 3.0, 3.0)
    assert root_mean_square([0.0, 8.0]) == (2.0, 0.0, pytest.approx(8**0.5))
