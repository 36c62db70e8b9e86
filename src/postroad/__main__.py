"""`python -m postroad` is the command `postroad`."""

from postroad.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
