"""The cost of weak-constraint 4D-Var from variances in physical units."""

from collections.abc import Sequence

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap
from oceanvar.maps.units import in_physical_units, scaled_parts
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.terms.base import AbstractTerm
from oceanvar.variational.terms.dynamics import DynamicsTerm
from oceanvar.variational.terms.observations import ObservationTerm


def weak_constraint_cost(
    step: AbstractMap,
    *,
    obs_variance: float,
    model_error_variance: float,
    mean: Sequence[float],
    std: Sequence[float],
    background: AbstractTerm | None = None,
    name: str = "state",
) -> VariationalCost:
    """Cost of weak-constraint 4D-Var for observations of the state itself.

    With ``J = sum |y - x|^2 / 2R + sum |x_t - M(x_(t-1))|^2 / 2Q + |x_0 - m|^2_B / 2`` in physical units
    (Tremolet, 2006, Q. J. R. Meteorol. Soc. 132, 2483-2504), the cost is U = 2 J / N, N being the
    points of the state. In normalised units a variance of variable v is divided by std_v^2; those are
    the `variances` of the terms, whose learnable weights are 1.

    Parameters
    ----------
    step : AbstractMap
        Model M of one time step, in physical units.
    obs_variance : float
        R; the weights given with the observations are masks.
    model_error_variance : float
        Q, for one step.
    mean, std : sequence of float
        Normalisation of each variable.
    background : AbstractTerm, optional
        Term on the first state, in normalised units: a fitted
        `oceanvar.variational.terms.first_state.FirstStateTerm`, say. Default: none.
    name : str
        Which observations.

    Returns
    -------
    VariationalCost
        Its terms are the observations (0), the dynamics (1) and the background (2).
    """
    if len(mean) != len(std) or obs_variance <= 0 or model_error_variance <= 0:
        raise ConfigError(
            "mean and std need one entry for each variable, and variances must be positive; got "
            f"{list(mean)}, {list(std)}, {obs_variance} and {model_error_variance}"
        )
    normalised_step = in_physical_units(step, len(std))
    for units in scaled_parts(normalised_step):
        units.double().set_(mean, std)
    terms = [
        ObservationTerm(name=name, variances=[obs_variance / s**2 for s in std]),
        DynamicsTerm(normalised_step, variances=[model_error_variance / s**2 for s in std]),
    ]
    return VariationalCost(*terms, *([background] if background else []))
