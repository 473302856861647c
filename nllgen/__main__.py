"""``python -m nllgen``: what a supervisor starts its workers with."""

from nllgen.cli import main

if __name__ == "__main__":
    main()
