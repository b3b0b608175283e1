"""``python -m datastack_fs.cli``, where the command itself is not on the path."""

from datastack_fs.cli import main

main()
