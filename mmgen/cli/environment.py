"""`mmgen doctor`: what is wrong with this machine's environment, and the cure."""

from __future__ import annotations

from typing import Annotated

import typer

from mmgen.cli.report import print_json


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check the environment; exit with 1 where something required is broken, and say the cure."""
    from mmgen.doctor import examine, healthy

    checks = examine()
    well = healthy(checks)
    if json:
        print_json({"healthy": well, "checks": [check.to_dict() for check in checks]})
    else:
        for check in checks:
            mark = "ok" if check.passed else "FAIL" if check.required else "note"
            print(f"{mark:5} {check.name}: {check.found}")
            if check.cure:
                print(f"      cure: {check.cure}")
        broken = sum(not check.passed for check in checks if check.required)
        print("\neverything needed is in order" if well else f"\n{broken} of {len(checks)} checks failed")
    if not well:
        raise typer.Exit(1)
