"""`python -m batman_cli` is the `batman` command."""

from batman_cli.cli import main

if __name__ == "__main__":
    main()
