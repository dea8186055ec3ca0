"""`python -m leads`: the operations for a person at a shell."""

import sys


def run() -> int:
    """Run the command line. Returns the exit status."""
    try:
        from leads.cli import main
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich", "yaml"}:
            raise
        sys.stderr.write(
            "The command line needs typer, rich and PyYAML, which the deployed app does not need: pip install typer rich pyyaml\n"
        )
        return 2
    return main()


if __name__ == "__main__":
    sys.exit(run())
