"""`python -m tools.imports`: checks the import contracts of pyproject.toml."""

from importlinter.cli import lint_imports_command

if __name__ == "__main__":
    lint_imports_command(["--no-logo", "--no-cache"])
