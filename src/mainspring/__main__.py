"""``python -m mainspring`` is the command line, for ``torchrun -m mainspring train ...`` above all."""

from .cli import main

if __name__ == "__main__":
    main()
