"""`berth up` as a whole: what is asked for is checked before anything is done."""

from __future__ import annotations

import os
import signal
import sys

from resolver.cli import entering
from resolver.cli.client import NoDaemon, Refused, call, sandboxes_path
from resolver.cli.entering import EnterFailed
from resolver.cli.output import complain, print_steps
from resolver.cli.sandbox_calls import hold_for_a_moment
from resolver.cli.up import processes
from resolver.cli.up.egress_rules import with_project_files
from resolver.cli.up.options import Options
from resolver.cli.up.plan import UpPlan, plan_up
from resolver.cli.up.project_file import Selection, load_project
from resolver.cli.up.reconcile import chosen_services, reconcile, summary
from resolver.cli.up.session import Session
from resolver.cli.words import nearest_or_all


def up(selection: Selection, options: Options) -> int:
    """Bring the project of *selection* up; follow its output until Ctrl-C or its end unless it is to be detached."""
    loaded = load_project(selection, options.asked.services)
    for warning in loaded.warnings:
        print(f"berth: {warning}", file=sys.stderr)
    plan = plan_up(with_project_files(loaded.project), pid=os.getpid(), scale=options.scale)
    chosen_services(plan, options.asked, loaded.known)
    names = [one.service.name for one in plan.services]
    options.attached.check(names)
    if options.exit_code_from is not None and options.exit_code_from not in names:
        raise Refused(f"--exit-code-from {options.exit_code_from}: there is no such service{nearest_or_all(options.exit_code_from, names)}")
    if options.dry_run:
        return _print_changes(plan, options, loaded.known)
    if any(service.service.command for service in plan.services):
        try:
            entering.check_privilege()
        except EnterFailed as error:
            raise Refused(str(error)) from error
    hold_for_a_moment()
    session = Session(plan, call, options, loaded.known)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, session.on_stop)
    try:
        return session.run()
    except processes.NotExecutable as error:
        complain(error)
        return entering.NOT_EXECUTABLE


def _print_changes(plan: UpPlan, options: Options, known: frozenset[str]) -> int:
    try:
        sandboxes, networks = call("GET", sandboxes_path(stopped=True)), call("GET", "/v1/networks")
    except NoDaemon:
        sandboxes, networks = [], []
    changes = reconcile(plan, sandboxes, networks, options.asked, known=known)
    print_steps(summary(changes, remove_orphans=options.remove_orphans), is_json=options.is_json)
    return 0
