"""A real JupyterLab, started for a test."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request

TOKEN = "a-token-for-this-test"


@contextlib.contextmanager
def jupyterlab(root, started_in, settings, own, **environment):
    """JupyterLab on this machine only; gives its address when it answers.

    Args:
        root: the folder that it shows.
        started_in: the folder that it is started in.
        settings: a folder of `tools/lab`.
        own: a folder for what would else be the user's: no setting of this machine counts.
        environment: more variables.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = {
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": root,
        "ServerApp.open_browser": False,
        "IdentityProvider.token": TOKEN,
    }
    variables = {name: str(own / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    variables |= {"JUPYTER_CONFIG_PATH": str(settings), **environment}
    log = own / "lab.log"
    with log.open("w") as writing:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--allow-root", *(f"--{k}={v}" for k, v in flags.items())],
            cwd=started_in,
            env=os.environ | variables,
            stdout=writing,
            stderr=writing,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/api?token={TOKEN}", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(300)


def _wait_for(url, server, log):
    for _ in range(1200):
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"JupyterLab did not answer\n{log.read_text()}")
