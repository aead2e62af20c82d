"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.completing import environments, services

targets_option = click.option(
    "--targets",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar="CD_TARGETS",
    help="The operators' targets.yaml.",
)
environment_option = click.option(
    "-e", "--environment", default="", metavar="NAME", envvar="CD_ENVIRONMENT",
    help="Which environment of targets.yaml; the only one by default.", shell_complete=environments,
)  # fmt: skip
service_option = click.option(
    "--service",
    default="",
    metavar="NAME",
    envvar="CD_SERVICE",
    help="Which service; that of DIR/cd.yaml by default.",
    shell_complete=services,
)
wait_option = click.option(
    "--wait-lease", "wait", is_flag=True, envvar="CD_WAIT_LEASE",
    help="Wait, to the end of --timeout, while another run holds the release.  [default: exit 9]",
)  # fmt: skip
audit_option = click.option(
    "--audit", metavar="FILE", type=click.Path(path_type=Path), envvar="CD_AUDIT",
    help="The record that permits, refusals, rollbacks and holds are added to. It is the operators' own.",
)  # fmt: skip
permit_option = click.option(
    "--permit", "permit_file", metavar="FILE", type=click.Path(path_type=Path), envvar="CD_PERMIT",
    help="A permit, where it does not lie beside the image.",
)  # fmt: skip
signing_key_option = click.option(
    "--signing-key", metavar="FILE", type=click.Path(path_type=Path), envvar="CD_SIGNING_KEY",
    help="The private key (PEM, ECDSA P-256) by which this step attests what it did; without it, it does not.",
)  # fmt: skip
