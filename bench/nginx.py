"""A plain nginx reverse proxy, as the yardstick."""

import shutil
import subprocess
from pathlib import Path

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_max_body_size 16m;
    client_body_buffer_size 1m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    upstream ollama {{
        server 127.0.0.1:{upstream_port};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://ollama;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""


def program() -> str | None:
    return shutil.which("nginx")


def start(program: str, folder: Path, port: int, upstream_port: int) -> subprocess.Popen[bytes]:
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, upstream_port=upstream_port))
    return subprocess.Popen([program, "-c", str(config), "-p", str(folder), "-e", str(folder / "error.log")])
