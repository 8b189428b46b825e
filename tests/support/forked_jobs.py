"""`kdfeatures ARGUMENTS`, where joblib forks the processes of jobs instead of starting interpreters."""

from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.backend.context import set_start_method

from kdfeatures.cli.main import main

if __name__ == "__main__":
    set_start_method("fork")
    try:
        main()
    finally:  # an interpreter does so when it ends, a forked process does not
        get_reusable_executor().shutdown(kill_workers=True)
