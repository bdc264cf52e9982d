"""The reference of the command line and the configuration, for man pages, `docs/cli.md` and completion.

`tree` makes one description of all commands (`model`) from the table of sandbox options and the click commands; `man` and
`markdown` render it. `python -m resolver.cli.reference docs` writes `docs/cli.md` and `docs/man/`.

The rendered files are in the repository, and a test fails when they are not current. So building a wheel, which installs the
man pages, needs neither the package's dependencies nor code of its own.
"""
