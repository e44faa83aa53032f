"""What a record says about a unit of which only some times were written anew."""

from pathlib import Path

import numpy as np

from oceanvar.archive.records import Part, by_time, counts


def test_counts_of_a_unit_written_in_part_are_those_of_all_its_times():
    """Times 10 to 14, of which 12 and 13 are new."""
    old = {
        "n_missing": [1, 2, 3, 4, 5],
        "n_unhealthy": None,
        "n_not_used": [0, 0, 9, 9, 1],
        "unobserved": [10, 12, 14],
    }
    new = {"first": 10, "n_times": 5, "n_missing": [30, 40], "n_unhealthy": [0, 0], "n_not_used": [0, 7]}
    joined = Part((12, 14), Path(), old).joined({**new, "unobserved": [13], "seconds": {}})
    assert joined["n_missing"] == [1, 2, 30, 40, 5]
    assert joined["n_unhealthy"] is None
    assert joined["n_not_used"] == [0, 0, 0, 7, 1]
    assert joined["unobserved"] == [10, 13, 14]
    summed = counts([joined, {**joined, "unobserved": [15]}])
    assert (summed["n_missing"], summed["n_times_unobserved"], summed["n_unhealthy"]) == (156, 4, None)


def test_counts_are_by_time():
    missing = np.zeros((2, 1, 3, 4), bool)
    missing[:, 0, 1, 2:] = True
    assert by_time(missing, -2) == [0, 4, 0]
