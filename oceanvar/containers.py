"""One variable, or a tree of datasets, in place of a Dataset."""

from pathlib import Path
from typing import Any

import xarray as xr

from oceanvar.errors import MissingVariableError
from oceanvar.mapping import assimilate
from oceanvar.network.varnet import VarNet, loaded


def assimilate_array(obs: xr.DataArray, model: VarNet | str | Path, **options: Any) -> xr.DataArray:
    """Map one gappy variable to a complete field, for models of one variable; see `assimilate`.

    Parameters
    ----------
    obs : DataArray
        Observations. Without a name it is taken for the model's variable.
    model : VarNet or path-like
        Model of one variable.
    **options
        As for `assimilate`; `background` may be a DataArray.
    """
    model = loaded(model)
    name = str(obs.name or model.state_space.variables[0])
    background = options.pop("background", None)
    if isinstance(background, xr.DataArray):
        background = background.to_dataset(name=name)
    return assimilate(obs.to_dataset(name=name), model, background=background, **options)[name]


def assimilate_tree(tree: xr.DataTree, model: VarNet | str | Path, **options: Any) -> xr.DataTree:
    """Map the gappy observations in the nodes of a tree to complete fields, each node on its own grid.

    Parameters
    ----------
    tree : DataTree
        Nodes with the variables of the model are mapped, with the coordinates that they inherit; others are left out.
    model : VarNet or path-like
        Model, its file, or the name of a packaged one.
    **options
        Of `oceanvar.assimilate`, the same for all nodes.

    Returns
    -------
    DataTree
        Analyses at the paths of their observations.

    Raises
    ------
    MissingVariableError
        If no node holds all variables of the model.
    """
    model = loaded(model)
    names = options.get("variables") or {}
    wanted = {names.get(each, each) for each in model.state_space.variables}
    held = {node.path: node.to_dataset() for node in tree.subtree if wanted <= set(node.data_vars)}
    if not held:
        found = {node.path: list(map(str, node.data_vars)) for node in tree.subtree if node.data_vars}
        raise MissingVariableError(
            f"no node of the tree holds {sorted(wanted)}, which the model maps; there are {found}: rename them, or "
            'say variables={"name of the model": "name here"}'
        )
    analyses = {path: assimilate(ds, model, **options) for path, ds in held.items()}
    return xr.DataTree.from_dict(analyses, name=tree.name)
