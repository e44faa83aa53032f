"""What an installed oceanvar must do, wherever it came from: run by `release_check.sh` outside of the repository."""

import subprocess
import sys
from importlib.metadata import files, version
from pathlib import Path

import oceanvar
from oceanvar.network.files import PACKAGED
from oceanvar.observing import RandomComponents

if "site-packages" not in oceanvar.__file__:
    sys.exit(f"this is not the installed package: {oceanvar.__file__}")
names = sorted(path.stem for path in PACKAGED.glob("*.varnet"))
for name in names:
    oceanvar.load(name)
if any(str(path).startswith(("tests", "scripts")) for path in files("oceanvar") or ()):
    sys.exit("tests or scripts are installed too")

truth = oceanvar.lorenz96(n_steps=400, seed=7)
obs = truth.varnet.observe(RandomComponents(20, every=4), noise_std=2**0.5, seed=7)
score = obs.varnet.assimilate("lorenz96").varnet.score(truth, obs)["r_score"]
if not float(score.max()) < 0.05:
    sys.exit(f"the analysis is wrong: {score.values}")

tool = str(Path(sys.executable).with_name("oceanvar"))
for arguments in (["--version"], ["inspect", "ocean"], ["train", "--keys"]):
    subprocess.run([tool, *arguments], check=True, stdout=subprocess.DEVNULL)
python = sys.version.split()[0]
print(f"oceanvar {version('oceanvar')}, Python {python}: {len(names)} models, score {float(score.max()):.2e}")
