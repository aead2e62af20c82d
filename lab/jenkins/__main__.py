"""`python -m lab.jenkins --home DIR --port N`: run the stand-in until SIGTERM, which is a clean stop."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import click

from cdlib.errors import CdError
from lab.jenkins import settings as configured
from lab.jenkins.controller import Controller
from lab.jenkins.execution import plain_environment
from lab.jenkins.server import Server


@click.command(context_settings={"show_default": True})
@click.option("--home", required=True, type=click.Path(path_type=Path, file_okay=False), help="Where all of it lies.")
@click.option("--port", required=True, type=int, help="The port; 0 takes a free one.")
@click.option("--host", default="127.0.0.1", help="The address.")
@click.option("--config", type=click.Path(path_type=Path), help="Users, agents, credentials.  [default: HOME/lab.yaml]")
def main(home: Path, port: int, host: str, config: Path | None) -> None:
    """Run a stand-in for Jenkins. Prints its address once it listens."""
    home.mkdir(parents=True, exist_ok=True)
    plain_environment()
    try:
        controller = Controller(home, configured.read(home, config), "")
    except CdError as problem:
        raise click.ClickException(f"{problem.message} ({problem.hint})") from problem
    with Server((host, port), controller, tell=True) as server:
        controller.url = f"http://{host}:{server.server_port}/"
        ended = threading.Event()

        def stop(_signum: int, _frame: FrameType | None) -> None:
            ended.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        controller.start()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        print(f"listening at {controller.url}", flush=True)
        ended.wait()
        server.shutdown()
        controller.stop()


if __name__ == "__main__":
    sys.exit(main())
