"""The example of training on Ray, on a store that two workers read their shares from."""

import runpy
from pathlib import Path

from harness.stores import BUCKET

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_train.py"


def test_the_example_learns(mongod, tmp_path):
    main = runpy.run_path(str(EXAMPLE))["main"]
    storage = f"{mongod.url}/{BUCKET}?bucket=ray-train"
    metrics = main(["--storage", storage, "--epochs", "6", "--checkpoints", str(tmp_path)])
    assert metrics["epoch"] == 5
    assert metrics["accuracy"] > 0.9
    assert [*tmp_path.rglob("weights.pt")]
