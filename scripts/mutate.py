"""Would a test notice? Change one line at a time, and run the tests that cover it.

    python scripts/mutate.py runs/mutants

Draws changes by seed over the bodies of functions: a comparison, a sign, a number or a truth value becomes another,
a `not`, a call, an assignment, a check or a context is dropped, a function returns None. The tests run once with
coverage (pytest-cov) to learn which of them cover which line, then for each change those, the quickest first. A run
that was broken off goes on: FOLDER keeps the commit it began with, the coverage and the verdicts. Texts of errors are
left alone, and so are lines that run at import.
"""

import ast
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import click
from coverage import CoverageData

ROOT = Path(__file__).parents[1]
PLACES = ("oceanvar/patching", "oceanvar/variational", "oceanvar/mapping.py", "oceanvar/archive")
FIRST_TESTS = 25
"""The quickest ones, which catch most changes; the others follow where these do not."""

_ONE = (ast.Lt, ast.Gt, ast.Eq, ast.Is, ast.In, ast.Add, ast.Mult, ast.And)
_OTHER = (ast.LtE, ast.GtE, ast.NotEq, ast.IsNot, ast.NotIn, ast.Sub, ast.Div, ast.Or)
SWAPS = dict(zip(_ONE + _OTHER, _OTHER + _ONE, strict=True)) | {ast.FloorDiv: ast.Mult}

Change = tuple[ast.AST, str, int | None, ast.AST, ast.AST, int]
"""Parent, field and position in it; what stands there; what shall; first line of the statement."""


def changed(node: ast.AST) -> ast.AST | None:
    """Make what could stand in the place of a node."""
    match node:
        case ast.Compare(left, [op, *others], comparators) if type(op) in SWAPS:
            return ast.Compare(left, [SWAPS[type(op)](), *others], comparators)
        case ast.BinOp(left, op, right) if type(op) in SWAPS:
            return ast.BinOp(left, SWAPS[type(op)](), right)
        case ast.BoolOp(op, values):
            return ast.BoolOp(SWAPS[type(op)](), values)
        case ast.UnaryOp(ast.Not(), operand):
            return operand
        case ast.Constant(bool() as value):
            return ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            return ast.Constant(value + 1)
    return dropped(node)


def dropped(node: ast.AST) -> ast.AST | None:
    """Make what is left of a statement that is dropped."""
    match node:
        case ast.Return(value) if value is not None and ast.unparse(value) != "None":
            return ast.Return(None)
        case ast.With([ast.withitem(_, None)], body):
            return ast.If(ast.Constant(True), body, [])
        case (
            ast.Expr(ast.Call())
            | ast.AugAssign()
            | ast.Raise()
            | ast.Assign([ast.Attribute() | ast.Subscript()])
        ):
            return ast.Pass()
    return None


def changes(node: ast.AST, inside: bool = False, line: int = 0) -> Iterator[Change]:
    """Find all changes in the functions below a node, always in the same order."""
    for name, value in ast.iter_fields(node):
        in_function = inside or (isinstance(node, ast.FunctionDef) and name == "body")
        for position, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST) or name in ("annotation", "returns", "decorator_list"):
                continue
            if isinstance(child, ast.keyword) and child.arg == "strict":
                continue  # of zip: an assertion, which nothing can break from outside
            first = child.lineno if isinstance(child, ast.stmt) else line
            new = changed(child) if in_function else None
            if new is not None:
                yield node, name, position if isinstance(value, list) else None, child, new, first
            if not isinstance(child, ast.Raise | ast.JoinedStr | ast.arguments):
                yield from changes(child, in_function, first)


def mutant(text: str, number: int) -> tuple[str, ast.AST, ast.AST, int]:
    """Make one of the changes in the text of a module; say what it is, and where its statement begins."""
    tree = ast.parse(text)
    parent, name, position, old, new, line = list(changes(tree))[number]
    if position is None:
        setattr(parent, name, new)
    else:
        getattr(parent, name)[position] = new
    return ast.unparse(ast.fix_missing_locations(tree)), old, new, line


def run(tree: Path, log: Path, arguments: list[str], seconds: float | None = None, **variables: str) -> int:
    """Run pytest in a tree; -1 if it takes longer."""
    path = os.pathsep.join([str(tree), os.environ.get("PYTHONPATH", "")])
    env = (
        os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"} | variables
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=tree, env=env, stdout=file, stderr=file, start_new_session=True
        )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return -1
    finally:
        with contextlib.suppress(ProcessLookupError):  # what the tests have started goes too
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def measure(folder: Path, tests: tuple[str, ...]) -> None:
    """Run the tests of the last commit once, and keep what they cover and how long they take."""
    shutil.rmtree(folder / "tree", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "archive", "HEAD", "-o", folder / "tree.zip"], cwd=ROOT, check=True)
    shutil.unpack_archive(folder / "tree.zip", folder / "tree")
    options = ["--cov=oceanvar", "--cov-context=test", "--cov-report=", "--durations=0", "--durations-min=0"]
    log, data = folder / "measured.log", folder / "measuring"
    if run(folder / "tree", log, [*tests, *options, "-vv"], COVERAGE_FILE=str(data)):
        raise click.ClickException(f"not all tests pass: see {log}")
    data.rename(folder / "coverage")


def durations(log: Path) -> dict[str, float]:
    """Seconds of each test, with what sets it up."""
    seconds: dict[str, float] = defaultdict(float)
    for taken, test in re.findall(
        r"^([\d.]+)s (?:setup|call|teardown) +(\S.*)$", log.read_text(), re.MULTILINE
    ):
        seconds[test] += float(taken)
    return seconds


def drawn(tree: Path, n: int, seed: int) -> list[tuple[str, int]]:
    """Draw changes: the file, and the number of the change in it."""
    every = [
        (str(file.relative_to(tree)), number)
        for place in PLACES
        for file in sorted((tree / place).rglob("*.py")) or [tree / place]
        for number, _ in enumerate(changes(ast.parse(file.read_text())))
    ]
    return random.Random(seed).sample(every, min(n, len(every)))


def judged(folder: Path, name: str, number: int, seconds: dict[str, float], data: CoverageData) -> dict:
    """Make one change, run the tests that cover it, and take it back."""
    began, original = time.monotonic(), folder / "tree" / name
    text, old, new, line = mutant(original.read_text(), number)
    contexts = data.contexts_by_lineno(str(original))
    covering = {each.rpartition("|")[0] for each in contexts.get(old.lineno) or contexts.get(line, [])} - {""}
    tests = sorted(covering, key=lambda test: (seconds[test], test))
    (folder / "mutant" / name).write_text(text)
    code = 0
    for some in (tests[:FIRST_TESTS], tests[FIRST_TESTS:]):
        if some and code == 0:
            limit = 60 + 5 * sum(seconds[test] for test in some)
            code = run(folder / "mutant", folder / "mutant.log", ["-x", "-q", *some], limit)
    shutil.copy2(original, folder / "mutant" / name)
    return {
        "name": name,
        "number": number,
        "line": old.lineno,
        "change": f"{ast.unparse(old)}  ->  {ast.unparse(new)}",
        "verdict": ("survived" if code == 0 else "caught") if tests else "not covered",
        "n_tests": len(tests),
        "seconds": round(time.monotonic() - began, 1),
    }


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--n", default=200, show_default=True, help="Number of changes.")
@click.option("--seed", default=0, show_default=True)
@click.option("--tests", multiple=True, default=["tests"], help="Tests to learn from. [default: all]")
def main(folder: Path, n: int, seed: int, tests: tuple[str, ...]) -> None:
    """Draw changes, and print which of them the tests catch."""
    folder = folder.resolve()
    if not (folder / "coverage").exists():
        measure(folder, tests)
    shutil.rmtree(folder / "mutant", ignore_errors=True)
    shutil.copytree(folder / "tree", folder / "mutant")
    seconds, data = durations(folder / "measured.log"), CoverageData(str(folder / "coverage"))
    data.read()
    record, n_caught = folder / "verdicts.jsonl", 0
    lines = record.read_text().splitlines() if record.exists() else []
    known = {(each["name"], each["number"]): each for each in map(json.loads, lines)}
    chosen = drawn(folder / "tree", n, seed)
    for key in chosen:
        if key not in known:
            known[key] = judged(folder, *key, seconds, data)
            with record.open("a") as stream:
                stream.write(json.dumps(known[key]) + "\n")
        n_caught += known[key]["verdict"] == "caught"
        click.echo("{verdict:12}{name}:{line}  {change}  ({n_tests} tests, {seconds} s)".format(**known[key]))
    click.echo(f"{n_caught} of {len(chosen)} changes are caught: {n_caught / len(chosen):.0%}")


if __name__ == "__main__":
    main()
