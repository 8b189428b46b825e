"""`python -m kdfeatures` in a process that torchrun forks: without torchrun's handler of SIGTERM, as one it starts."""

import runpy
import signal

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    runpy.run_module("kdfeatures", run_name="__main__", alter_sys=True)
