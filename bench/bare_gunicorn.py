"""gunicorn as it comes, with as many processes and threads as gunicorn.conf.py gives it."""

import os

bind = f"127.0.0.1:{os.environ['PORT']}"
worker_class = "gthread"
workers, threads = 2, 8
loglevel = "warning"
