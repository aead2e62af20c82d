"""build-image: make a service's images out of a commit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cdlib.result import Result
from jobs.command import command
from jobs.options import signing_key_option, targets_option

if TYPE_CHECKING:
    from cdlib.run import Run


@command("build-image", timeout=1800)
@targets_option
@click.option("--variant", "variants", multiple=True, metavar="NAME", envvar="CD_VARIANT",
              help="Which variant of cd.yaml; may be repeated.  [default: all]")  # fmt: skip
@click.option("--dirty", is_flag=True, envvar="CD_DIRTY", help="Take uncommitted changes along; such an image cannot "
              "be published.")  # fmt: skip
@click.option("--builder", type=click.Choice(["auto", "buildx", "buildkit", "engine"]), default="auto",
              envvar="CD_BUILDER", help="What builds; auto takes the best that works here.")  # fmt: skip
@click.option("--cache/--no-cache", default=True, envvar="CD_CACHE", help="Use the candidates' repository of "
              "--targets as a cache.")  # fmt: skip
@signing_key_option
def main(run: Run, folder: Path, targets: Path | None, variants: tuple[str, ...], dirty: bool, builder: str,
         cache: bool, signing_key: Path | None) -> Result:  # fmt: skip
    """Build the images of the commit in DIR, each variant once: what has been built from the same is used again.

    With a signing key, the image that is deployed becomes a candidate at once, with its provenance beside it.
    Prints one line a variant: its name in the Docker Engine, its id, and how it came about.
    """
    from cdlib.image.build import build
    from cdlib.image.work import open_work
    from cdlib.promotion.attesting import attest_build, open_witness

    work = open_work(run, folder, targets, with_changes=dirty)
    witness = open_witness(work, signing_key, "provenance")
    images = build(work, variants, builder=builder, cache=cache)
    attested = attest_build(witness, images)
    unchanged = all(image.unchanged for image in images)
    return {
        "outcome": "unchanged" if unchanged else "done",
        "service": work.service.name,
        "commit": work.source.commit,
        "images": [image.as_dict() for image in images],
        **({"attested": attested} if attested else {}),
        "text": "\n".join(f"{i.name} {i.id} {'unchanged' if i.unchanged else i.builder}" for i in images),
    }


if __name__ == "__main__":
    main()
