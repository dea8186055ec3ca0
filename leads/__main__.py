"""`python -m leads`: the operations for a person at a shell."""

import sys


def run() -> int:
    """Run the command line. Returns the exit status."""
    try:
        from leads.cli import main

        return main()
    except KeyboardInterrupt:  # before the command has begun, or a second one while it ends
        sys.stderr.write("Interrupted.\n")
        return 130
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich", "yaml"}:
            raise
        sys.stderr.write(
            "error: The command line needs typer, rich and PyYAML, which the deployed app does not need: "
            "pip install typer rich pyyaml\n"
        )
        return 2


if __name__ == "__main__":
    sys.exit(run())
