"""`python -m tools.imports`: hold the contracts of pyproject.toml, which import may stand where."""

from importlinter.cli import lint_imports_command

if __name__ == "__main__":
    lint_imports_command(["--no-logo", "--no-cache"])
