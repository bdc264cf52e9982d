"""The command doctor: what is not as it should be, and mending it."""

from __future__ import annotations

import os
from typing import Any

import click

from resolver.cli.client import NoDaemon, call
from resolver.cli.commands.declare import command, option
from resolver.cli.commands.options import FORMAT
from resolver.cli.output import complain, counted, print_json
from resolver.printable import printable
from resolver.rootless import examination


@command(examples=("berth doctor", "berth doctor --fix"))
@option("--fix", is_flag=True, help="Bring the kernel and the files back to what is recorded.")
@option("--adopt", is_flag=True, help="Record what the kernel has of berth's and the records lack.")
@option("--remove", is_flag=True, help="Remove what the kernel has of berth's and the records lack.")
@FORMAT
def doctor(fix: bool, adopt: bool, remove: bool, form: str) -> int:
    """Compare what exists with what is recorded.

    Without an option nothing is changed. The exit code is 1 if something is left that is not as it should be.
    """
    asked = [name for name, given in (("fix", fix), ("adopt", adopt), ("remove", remove)) if given]
    if len(asked) > 1:
        raise click.UsageError(f"--{asked[0]} and --{asked[1]} exclude each other; give one of them")
    findings = [*examination.found]
    try:
        findings += call("POST", "/v1/doctor", {"treatment": asked[0]}, autostart=False) if asked else call("GET", "/v1/doctor")
    except NoDaemon as error:
        # Without root there is something to be said before there is a daemon.
        if os.geteuid() == 0:
            raise
        complain(f"{error}; what follows is about this host")
    left = [finding for finding in findings if not finding["mended"] and finding["object"] != "note"]
    if form == "json":
        print_json(findings)
    else:
        for finding in findings:
            print("\n".join(printable(line) for text in _lines(finding) for line in text.splitlines()))
        mended = sum(finding["mended"] for finding in findings)
        print(f"{counted(len(left), 'problem')}" + (f", {mended} mended" if asked else ""))
    return 1 if left else 0


def _lines(finding: dict[str, Any]) -> list[str]:
    kind = finding["object"]
    named = finding["name"].startswith(f"{kind.partition('_')[0]} ")  # as in "route 10.0.0.0/8 dev eth0", which says what it is
    subject = f"{'' if named else f'{kind} '}{finding['name']} {finding['problem']}"
    if finding["mended"]:
        return [f"mended: {subject}"]
    options = " or ".join(f"--{treatment}" for treatment in finding["treatments"])
    by_berth = f" (berth doctor {options} does it)" if options else ""
    failed = [f"    failed: {finding['error']}"] if finding["error"] else []
    return [subject, f"    to mend it: {finding['remedy']}{by_berth}", *failed]
