"""The page on training: all its blocks run, and a Lightning job goes on in the middle of an epoch."""

import re
import warnings
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
BLOCK = re.compile(r"^```py(?:thon)?(?: title=\".+\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """What the blocks of the page leave behind."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    text = PAGE.read_text()
    for block in BLOCK.finditer(text):
        line = text[: block.start()].count("\n") + 1
        exec(compile("\n" * line + block[1], str(PAGE), "exec"), namespace)
    return namespace


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lightning_goes_on_with_the_next_batch(page, tmp_path):
    import lightning

    class Model(lightning.LightningModule):
        def __init__(self, stop=None):
            super().__init__()
            self.line, self.seen, self.stop = torch.nn.Linear(64, 10), [], stop

        def training_step(self, batch, number):
            samples, targets, _ = batch
            self.seen.append(targets.tolist())
            return torch.nn.functional.cross_entropy(self.line(samples.float().flatten(1)), targets)

        def on_train_batch_end(self, *_):
            if len(self.seen) == self.stop:
                self.trainer.save_checkpoint(tmp_path / "middle.ckpt")
                self.trainer.should_stop = True

        def validation_step(self, batch, number):
            pass

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    def fit(model, **options):
        trainer = lightning.Trainer(
            max_epochs=3,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=tmp_path,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(model, page["Digits"](), **options)
        return model.seen

    unbroken = fit(Model())
    assert len(unbroken) == 15
    assert unbroken[:5] != unbroken[5:10]
    assert fit(Model(stop=8))[:8] == unbroken[:8]
    assert fit(Model(), ckpt_path=tmp_path / "middle.ckpt") == unbroken[8:]
