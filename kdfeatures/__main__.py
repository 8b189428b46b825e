"""python -m kdfeatures."""

from kdfeatures.cli import main

if __name__ == "__main__":
    main()
