"""The command line: all that knows Hydra. `bnstudy --help` lists the commands.

The rest of the package takes tensors, modules and numbers. `bnstudy.session` runs one run on disk.
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
# In a checkout the configs lie beside the package; a wheel brings them inside of it.
CONFIGS = next(
    (folder for folder in (PACKAGE / "configs", PACKAGE.parent / "configs") if folder.is_dir()),
    PACKAGE / "configs",
)
