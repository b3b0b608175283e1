"""Makes docs/command-line.md from the commands' own --help: ``python tests/harness/command_line_page.py`` writes it."""

from pathlib import Path

import click

from datastack_fs.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
INTRODUCTION = """# Command line

`pip install "datastack-fs[cli]"` brings the command `datastack-fs`. Errors are one line on stderr, with exit code 1
(2 for misuse); progress is shown on a terminal only; `--json` gives what a program can read.

```bash
datastack-fs prepare digits
datastack-fs show digits --split train --index 0
datastack-fs report digits --out digits.html
datastack-fs doctor digits/preprocessed/train.h5
datastack-fs plan digits/preprocessed/train.h5 --batch 64
datastack-fs repack digits/preprocessed/train.h5 copies/train.h5
datastack-fs datasets
datastack-fs ls
datastack-fs info digits/preprocessed/test.h5 --json
datastack-fs get digits/preprocessed/test.h5 test.h5
datastack-fs put test.h5 copies/test.h5
datastack-fs cp ./datasets/copies/test.h5 s3://lab/copies/test.h5
datastack-fs verify
datastack-fs rm copies/test.h5
datastack-fs sweep
datastack-fs cache --help
```

What follows is what each command says of itself with `--help`.
"""


def page() -> str:
    """The page as it should be."""
    return "\n".join([INTRODUCTION, *sections(app, "datastack-fs")])


def sections(command, name):
    """A heading and the help, of a command and those below it."""
    settings = {**command.context_settings, "help_option_names": ["-h", "--help"]}
    settings |= {"terminal_width": 90, "max_content_width": 90}
    context = click.Context(command, info_name=name, **settings)
    yield f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            yield from sections(command.get_command(context, child), f"{name} {child}")


if __name__ == "__main__":
    PAGE.write_text(page())
